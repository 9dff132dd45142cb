"""uvicorn's connection, but one that does not wait for ever for the headers of a request.

uvicorn has a limit for connections that rest between two requests, and none for headers that come byte by byte or not
at all: a few thousand of those would hold every connection that the server may have. A file of its own because it is
the one place that builds on a class of uvicorn's inside.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 5.0


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """Closes a connection whose request's headers are not whole in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As ``asyncio.Protocol``: the first headers are awaited from here on."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        super().on_message_begin()
        if self._timer is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The headers are whole; the body has a limit of its own (``request_limits``)."""
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """As ``asyncio.Protocol``."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
