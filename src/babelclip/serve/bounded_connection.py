"""uvicorn's connection with a bound for each of its phases, and for how many there are.

=========================  =============================================================================
phase                      its bound
=========================  =============================================================================
before a head is whole     ``head_seconds`` and ``MAX_REQUEST_HEAD``
body comes in              ``request_limits``
answer goes out            ``SLOWEST_READER`` bytes a second, then ``request_limits`` for the whole
between two requests       uvicorn's keep-alive
client has left            what it asked for stops at once, or within ``LOOK_SECONDS`` while nothing of it is read
after the last answer      ``LINGER_SECONDS`` in which what is still sent is thrown away; then ``CLOSE_SECONDS``
=========================  =============================================================================

A client that has closed its side has left, be it that it would still read: it gets no answer.
When there are as many connections as there may be, the one that has rested longest makes room for the next.
A file of its own because it is the one place that builds on a class of uvicorn's inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import time
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEADER_SECONDS = 5.0
MAX_REQUEST_HEAD = 64 * 2**10  # address, names and values
MAX_PIPELINED = 16  # requests that are sent before the first is answered
LINGER_SECONDS = 2.0
CLOSE_SECONDS = 30.0  # for what lies in the buffer of a connection that has been closed
SLOWEST_READER = 1024  # bytes a second, reckoned over ``READER_SECONDS``
READER_SECONDS = 10.0
READ_BYTES = 16 * 2**10  # at a time, then it is the others' turn: in chunks of a byte these are thousands of pieces
LOOK_SECONDS = 1.0  # between two looks whether a client is there of which nothing is being read
_FRAMING = (b"content-length", b"transfer-encoding")
OTHER_FILES = 32  # that a server has open beside its connections: models, keys, cache, images being fetched


def most_connections(wanted: int) -> int:
    """How many connections there may be: those that were asked for, as far as the process may open files.

    Of a small number of files half is left for everything else.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, max(files - OTHER_FILES, files // 2)))


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection that takes too long in any of its phases."""

    max_connections = 1024  # of the server; ``bounded`` sets it

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None  # of the phase that the connection is in
        self._reader_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_in_head = False
        self._unread_framing = b""  # of a body that the parser has left to another protocol, which is not spoken here
        self._is_body_unread = False  # while another parser is told of it
        self._is_in_message = False  # from the first byte of a request to the last
        self._is_lingering = False
        self._rests_since = time.monotonic()
        self._look_timer: asyncio.TimerHandle | None = None
        self._client_left = asyncio.Event()
        self.answering: RequestResponseCycle | None = None  # the request that is: uvicorn's ``cycle`` is the last sent

    @property
    def rests(self) -> bool:
        """Whether no request is under way on it: it has sent none, or a part of a head, or has been answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As ``asyncio.Protocol``: the first head is awaited from here on, where there is room."""
        self._open = transport
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # the event loop's own is sixteen times as much
        own = _OwnTransport(transport, self._close, self._watch_client)
        super().connection_made(own)  # type: ignore[arg-type]
        if len(self.connections) > self.max_connections:
            self._make_room()
        self._wait(HEADER_SECONDS, self.transport.close)

    def _make_room(self) -> None:
        resting = [each for each in self.connections if isinstance(each, BoundedConnection) and each.rests]
        min(resting, key=lambda each: each._rests_since)._open.abort()  # itself, where all others work

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        if self._is_body_unread:
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests before an answer")  # uvicorn answers 400
        super().on_message_begin()
        self._head_bytes, self._is_in_message, self._is_in_head = 0, True, True
        if self._timer is None:
            self._wait(HEADER_SECONDS, self.transport.close)

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        if not self._is_body_unread:
            self._count_head(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head; or one after a body in chunks, which says nothing here."""
        self._count_head(len(name) + len(value) + 64)  # what it takes at least
        if self._is_in_head:
            super().on_header(name, value)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_REQUEST_HEAD:
            raise ValueError("the head is too large")  # uvicorn answers 400

    def on_headers_complete(self) -> None:
        """The head is whole; the body has a limit of its own (``request_limits``)."""
        if self._is_body_unread:
            return
        self._stop_timer()
        self._is_in_head = False
        self.scope["state"]["client_left"] = self._client_left
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """The last byte of a request has come."""
        if self.parser.should_upgrade() and (framing := self._framing()):
            self._unread_framing = framing
            return
        self._is_in_message = False
        super().on_message_complete()

    def _framing(self) -> bytes:
        """The lines of the head that say what comes after it."""
        return b"".join(b"%b: %b\r\n" % each for each in self.headers if each[0] in _FRAMING)

    def on_response_complete(self) -> None:
        """An answer has been written."""
        self._rests_since = time.monotonic()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """As ``asyncio.Protocol``; after the last answer it is thrown away."""
        if self._is_lingering:
            return
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            said = "Invalid HTTP request received."
            self.logger.warning(said)
            if self._drop_answer():
                self.send_400_response(said)
            else:
                self._open.abort()

    def _drop_answer(self) -> bool:
        """What is being answered gets none; False where its answer has begun."""
        if self.answering is None or self.answering.response_complete:
            return True
        self.answering.disconnected = True
        self.answering.message_event.set()
        self._client_left.set()
        return not self.answering.response_started

    def _parse(self, data: bytes) -> None:
        """Go on after a head that asks for another protocol: HTTP/2, as Java's clients do, or a web socket.

        It is answered as if it did not ask. The parser leaves what comes after such a head to somebody else, body
        included; so another one goes on, which is told the part of the head that says how long the body is.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as left:
            self.parser = httptools.HttpRequestParser(self)
            if self._unread_framing:
                framing, self._unread_framing = self._unread_framing, b""
                self._is_body_unread = True
                self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
                self._is_body_unread = False
            if rest := data[left.args[0] :]:
                self._parse(rest)

    def pause_writing(self) -> None:
        """The client reads slower than the answer is written."""
        super().pause_writing()
        self._watch_reader(self._open.get_write_buffer_size())

    def _watch_reader(self, unsent: int) -> None:
        def check() -> None:
            now = self._open.get_write_buffer_size()
            if unsent - now < SLOWEST_READER * READER_SECONDS:
                self._open.abort()
            else:
                self._watch_reader(now)

        self._stop_watching()
        self._reader_timer = self.loop.call_later(READER_SECONDS, check)

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._stop_watching()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """As ``asyncio.Protocol``."""
        super().connection_lost(exc)
        self._stop_timer()
        self._stop_watching()
        self._watch_client(False)
        self._drop_answer()
        self._client_left.set()

    def _watch_client(self, is_unread: bool) -> None:
        """Look now and then whether the client is there, while nothing is read, its end neither."""
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        if is_unread:
            self._look_timer = self.loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if _is_closed_by_client(self._open.get_extra_info("socket").fileno()):
            self._open.abort()
        else:
            self._watch_client(True)

    def _close(self) -> None:
        """End it, so that a client that is still sending can read why: a socket with unread bytes would be reset."""
        if self._is_in_message and self._open.can_write_eof():
            self._is_lingering = True
            with contextlib.suppress(OSError):
                self._open.write_eof()
            self._open.resume_reading()
            self._wait(LINGER_SECONDS, self._open.abort)
        else:
            self._open.close()
            self._wait(CLOSE_SECONDS, self._open.abort)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_watching(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def _is_closed_by_client(descriptor: int) -> bool:
    """Whether nothing more comes, however much has come and was not read."""
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))  # elsewhere than on Linux: closed on both sides
    return bool(poll.poll(0))


class _OwnTransport:
    """A transport whose end, and whether it is read, are the connection's affair; all else it passes on."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None], unread: Callable[[bool], None]) -> None:
        self._transport, self._close, self._unread = transport, close, unread
        self._is_closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Begin to end it."""
        if not self._is_closed:
            self._is_closed = True
            self._close()

    def pause_reading(self) -> None:
        """What comes stays in the network."""
        self._transport.pause_reading()
        self._unread(True)

    def resume_reading(self) -> None:
        """What comes is read."""
        self._transport.resume_reading()
        self._unread(False)

    def is_closing(self) -> bool:
        """Whether its end has begun."""
        return self._is_closed or self._transport.is_closing()


def bounded(wanted: int) -> type[BoundedConnection]:
    """The connections of a server that may have as many of them at once, as far as files go."""
    return type("BoundedConnection", (BoundedConnection,), {"max_connections": most_connections(wanted)})
