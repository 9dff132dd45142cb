"""uvicorn's connection, but one that does not wait for ever for the head of a request.

uvicorn has a limit for connections that rest between two requests, and none for a head that comes byte by byte or not
at all: a few thousand of those would hold every connection that the server may have.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 5.0


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request's head is not whole in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As ``asyncio.Protocol``: the first head is awaited from here on."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """The first byte of a head has come."""
        super().on_message_begin()
        if self._timer is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head is whole; its body has a limit of its own (``door.py``)."""
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """As ``asyncio.Protocol``."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
