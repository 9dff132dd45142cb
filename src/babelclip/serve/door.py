"""What every request passes first and last: it gets an id, its body is counted and timed while it comes in, its work is
dropped when the client goes away or it takes too long, and the journal hears of it when it has ended.

Plain ASGI, so that a body over the limit is refused after as many bytes, whatever its headers promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.serve.answers import error_answer
from babelclip.serve.journal import Journal
from babelclip.serve.settings import ServerSettings

CLIENT_GONE = 499  # as nginx notes it; nobody is there to read it
RETRY_SECONDS = "1"  # when room for a body is likely: requests take less
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Refused:
    """The door's own answer."""

    status: int
    code: str
    said: str


_TOO_SLOW = _Refused(408, "REQUEST_TIMEOUT", "the body did not come in time; send it faster or in smaller requests")
_TOO_LONG = _Refused(504, "SERVICE_TIMEOUT", "it takes longer than this server lets a request take; send less in one")
_NO_ROOM = _Refused(503, "SERVICE_UNAVAILABLE", "the server holds as much as it can; send it again later")
_FAILED = _Refused(500, "INTERNAL_ERROR", "the server failed; its log knows more under this id")


class Door:
    """Middleware around the application."""

    def __init__(self, app: ASGIApp, journal: Journal, settings: ServerSettings) -> None:
        self._app, self.journal, self.settings = app, journal, settings
        self.held = 0  # bytes of all bodies that are under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope.setdefault("state", {})["request_id"] = _request_id(scope)
        passage = _Passage(scope, receive, send, self)
        try:
            await self._let_through(passage)
        finally:
            self.held -= passage.received
            self.journal.ended(scope, passage.status, time.perf_counter() - started)

    async def _let_through(self, passage: _Passage) -> None:
        if passage.stated_length > self.settings.max_body_bytes:
            passage.refusal = _too_large(self.settings.max_body_bytes)
        else:
            try:
                await self._work(passage)
            except _BodyRefused:
                pass  # told below
            except Exception as error:
                self.journal.failed(passage.scope, error)
                if not passage.answering:
                    passage.refusal = _FAILED
        if passage.refusal is not None:
            await passage.refuse(passage.refusal)

    async def _work(self, passage: _Passage) -> None:
        """Run the application; stop it when the client has gone, so that what it asked for leaves the queue."""
        running = asyncio.ensure_future(self._app(passage.scope, passage.receive, passage.send))
        leaving = asyncio.ensure_future(passage.client_leaves())
        limit = self.settings.body_seconds + self.settings.answer_seconds
        try:
            done, _ = await asyncio.wait({running, leaving}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if running in done:
                running.result()
            elif not done and not passage.answering:
                passage.refusal = _TOO_LONG
        finally:
            for task in (running, leaving):
                if not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task


class _BodyRefused(Exception):
    """The body is over a limit."""


class _Passage:
    """One request on its way through the door."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, door: Door) -> None:
        self.scope, self._receive, self._send, self._door = scope, receive, send, door
        self.received = 0
        self._deadline = time.monotonic() + door.settings.body_seconds
        self._body_is_in = asyncio.Event()
        self._gone: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.refusal: _Refused | None = None
        self.status = CLIENT_GONE  # until an answer begins
        self.answering = False

    @property
    def stated_length(self) -> int:
        stated = dict(self.scope["headers"]).get(b"content-length", b"")
        return int(stated) if stated.isdigit() and len(stated) < 20 else 0

    async def receive(self) -> Message:
        """A piece of the body, counted. After its end: that the client has gone, once it has."""
        if self._body_is_in.is_set():
            return await asyncio.shield(self._gone)
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise self._stop(_TOO_SLOW) from None
        size, limits = len(message.get("body", b"")), self._door.settings
        self.received += size
        self._door.held += size
        if self.received > limits.max_body_bytes:
            raise self._stop(_too_large(limits.max_body_bytes))
        if self._door.held > limits.max_held_bytes:
            raise self._stop(_NO_ROOM)
        if message["type"] == "http.disconnect":
            self._gone.set_result(message)
        if not message.get("more_body", False):
            self._body_is_in.set()
        return message

    def _stop(self, refusal: _Refused) -> _BodyRefused:
        self.refusal = refusal
        return _BodyRefused()

    async def client_leaves(self) -> None:
        """Returns when the client has gone before its answer was ready."""
        await self._body_is_in.wait()
        if not self._gone.done():
            message = await self._receive()
            if not self._gone.done():
                self._gone.set_result(message)

    async def send(self, message: Message) -> None:
        """What the application answers; not what it made of a body that was refused."""
        if self.refusal is None:
            await self._pass_on(message)

    async def refuse(self, refusal: _Refused) -> None:
        """The door's own answer."""
        self._door.journal.refused(self.scope, refusal.code)
        headers = {"Connection": "close"} | ({"Retry-After": RETRY_SECONDS} if refusal.status == 503 else {})
        request_id = self.scope["state"]["request_id"]
        answer = error_answer(refusal.status, refusal.code, refusal.said, request_id, headers=headers)
        await answer(self.scope, self._receive, self._pass_on)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.answering = message["status"], True
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.scope["state"]["request_id"].encode()),
            ]
        await self._send(message)


def _too_large(most: int) -> _Refused:
    return _Refused(
        413, "INPUT_SIZE_LIMIT_EXCEEDED", f"the body has more than {most:,} bytes; send fewer or smaller items"
    )


def _request_id(scope: Scope) -> str:
    """The client's own, where it sent a decent one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _GOOD_ID.fullmatch(sent) else secrets.token_hex(16)
