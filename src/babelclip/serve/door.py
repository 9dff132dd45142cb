"""What every request passes first and last: it gets an id, its body is counted and timed while it comes in, its work is
dropped when the client goes away, and the journal hears of it when it has ended.

Plain ASGI, so that a body over the limit is refused after as many bytes, whatever its headers promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.serve.answers import error_answer
from babelclip.serve.journal import Journal

CLIENT_GONE = 499  # as nginx notes it; nobody is there to read it
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Door:
    """Middleware around the application."""

    def __init__(self, app: ASGIApp, journal: Journal, max_body_bytes: int, body_seconds: float) -> None:
        self._app, self.journal = app, journal
        self.max_body_bytes, self.body_seconds = max_body_bytes, body_seconds

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
            self.journal.ended(scope, passage.status, time.perf_counter() - started)

    async def _let_through(self, passage: _Passage) -> None:
        if passage.stated_length > self.max_body_bytes:
            passage.refusal = _too_large(self.max_body_bytes)
        else:
            try:
                await _while_client_waits(self._app(passage.scope, passage.receive, passage.send), passage)
            except _BodyRefused:
                pass  # told below
            except Exception as error:
                self.journal.failed(passage.scope, error)
                if passage.status == CLIENT_GONE:  # no answer has begun
                    passage.refusal = (500, "INTERNAL_ERROR", "the server failed; its log knows more under this id")
        if passage.refusal is not None:
            await passage.refuse(*passage.refusal)


async def _while_client_waits(work: Awaitable[None], passage: _Passage) -> None:
    """Run the application; stop it when the client has gone, so that what it asked for leaves the queue."""
    running = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(passage.client_leaves())
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
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
        self.scope, self._receive, self._send = scope, receive, send
        self._most, self._journal = door.max_body_bytes, door.journal
        self._received = 0
        self._deadline = time.monotonic() + door.body_seconds
        self._body_is_in = asyncio.Event()
        self._gone: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.refusal: tuple[int, str, str] | None = None
        self.status = CLIENT_GONE  # until an answer begins

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
            said = "the body did not come in time; send it faster or in smaller requests"
            self.refusal = (408, "REQUEST_TIMEOUT", said)
            raise _BodyRefused from None
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            self.refusal = _too_large(self._most)
            raise _BodyRefused
        if message["type"] == "http.disconnect":
            self._gone.set_result(message)
        if not message.get("more_body", False):
            self._body_is_in.set()
        return message

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

    async def refuse(self, status: int, code: str, said: str) -> None:
        """The door's own answer."""
        self._journal.refused(self.scope, code)
        answer = error_answer(status, code, said, self.scope["state"]["request_id"], headers={"Connection": "close"})
        await answer(self.scope, self._receive, self._pass_on)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self.scope["state"]["request_id"].encode()),
            ]
        await self._send(message)


def _too_large(most: int) -> tuple[int, str, str]:
    return 413, "INPUT_SIZE_LIMIT_EXCEEDED", f"the body has more than {most:,} bytes; send fewer or smaller items"


def _request_id(scope: Scope) -> str:
    """The client's own, where it sent a decent one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _GOOD_ID.fullmatch(sent) else secrets.token_hex(16)
