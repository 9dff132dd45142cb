"""What every request passes first and last.

It gets an id, its body is counted and timed while it comes in, its work is dropped when the client goes away or it
takes too long, and the access log is told when it has ended.

Plain ASGI, so that a body over the limit is refused after as many bytes, whatever its headers promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.serve.access_log import AccessLog
from babelclip.serve.body_budget import FREE_BYTES, RETRY_SECONDS, BodyBudget
from babelclip.serve.error_responses import as_refusal, error_response
from babelclip.serve.errors import AnswerTooSlow, BodyTooSlow, Busy, Refusal, TooLarge
from babelclip.serve.freed_memory import LARGE_BYTES, FreedMemory
from babelclip.serve.settings import ServerSettings

CLIENT_GONE = 499  # as nginx notes it; nobody is there to read it
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLimits:
    """Middleware around the application.

    Args:
        app: The application.
        access_log: Tells of each request.
        settings: The limits.
        budget: Of the bytes that requests under way hold, bodies and the images that these name; None: one of its own.
    """

    def __init__(
        self, app: ASGIApp, access_log: AccessLog, settings: ServerSettings, budget: BodyBudget | None = None
    ) -> None:
        self._app, self.access_log, self.settings = app, access_log, settings
        self.budget = budget or BodyBudget(settings.max_held_bytes)
        self._freed = FreedMemory()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope.setdefault("state", {})["request_id"] = _request_id(scope)
        exchange = _Exchange(scope, receive, send, self)
        try:
            await self._answer(exchange)
        finally:
            self.budget.give_back(exchange.held)
            if exchange.received >= LARGE_BYTES:
                self._freed.soon()
            self.access_log.ended(scope, exchange.status, time.perf_counter() - started)

    async def _answer(self, exchange: _Exchange) -> None:
        if exchange.stated_length > self.settings.max_body_bytes:
            exchange.refusal = _too_large(self.settings.max_body_bytes)
        else:
            try:
                await self._run(exchange)
            except _BodyRefused:
                pass  # answered below
            except asyncio.CancelledError:  # uvicorn's, when the time to finish is over
                if exchange.is_answering:
                    raise
                exchange.refusal = Busy("the server was stopped before this was done; send it again", RETRY_SECONDS)
            except Exception as error:
                self.access_log.failed(exchange.scope, error)
                if not exchange.is_answering:
                    exchange.refusal = as_refusal(error)
        if exchange.refusal is not None:
            await exchange.refuse(exchange.refusal)

    async def _run(self, exchange: _Exchange) -> None:
        """Run the application; stop it when the client has gone, so that what it asked for leaves the queue."""
        running = asyncio.ensure_future(self._app(exchange.scope, exchange.receive, exchange.send))
        leaving = asyncio.ensure_future(exchange.client_leaves())
        limit = self.settings.body_seconds + self.settings.answer_seconds
        try:
            done, _ = await asyncio.wait({running, leaving}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if running in done:
                running.result()
            elif not done and not exchange.is_answering:
                exchange.refusal = AnswerTooSlow()
        finally:
            for task in (running, leaving):
                if not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task


class _BodyRefused(Exception):
    """The body is over a limit."""


class _Exchange:
    """One request and its answer on their way through the middleware."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: RequestLimits) -> None:
        self.scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self.received = self.held = 0
        scope["state"].update(hold=self.hold, has_left=self.has_left)
        self._deadline: float | None = None  # of the body, from when it is first asked for
        self._body_is_in = asyncio.Event()
        self._gone: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.refusal: Refusal | None = None
        self.status = CLIENT_GONE  # until an answer begins
        self.is_answering = False

    @property
    def stated_length(self) -> int:
        stated = dict(self.scope["headers"]).get(b"content-length", b"")
        return int(stated) if stated.isdigit() and len(stated) < 20 else 0

    @property
    def _awaits_body(self) -> bool:
        """Whether there is a body that has not come whole."""
        has_body = bool(self.stated_length) or b"transfer-encoding" in dict(self.scope["headers"])
        return has_body and not self._body_is_in.is_set()

    async def receive(self) -> Message:
        """A piece of the body, counted. After its end: that the client has gone, once it has."""
        if self._body_is_in.is_set():
            return await asyncio.shield(self._gone)
        if self._deadline is None:
            self._deadline = time.monotonic() + self._limits.settings.body_seconds
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise self._stop(BodyTooSlow()) from None
        size, settings = len(message.get("body", b"")), self._limits.settings
        self.received += size
        if self.received > settings.max_body_bytes:
            raise self._stop(_too_large(settings.max_body_bytes))
        await self.hold(self.received - FREE_BYTES)
        if message["type"] == "http.disconnect":
            self._gone.set_result(message)
        if not message.get("more_body", False):
            self._body_is_in.set()
        return message

    async def hold(self, cost: int) -> None:
        """Count what this request holds, once there is room for it.

        Args:
            cost: of all that has come, in bytes of a body.
        """
        if cost <= self.held:
            return
        waited = time.monotonic()
        try:
            await self._limits.budget.take(cost - self.held, self._limits.settings.wait_seconds)
        except TimeoutError:
            busy = Busy("the server holds as much as it can; send it again later", RETRY_SECONDS)
            raise self._stop(busy) from None
        self.held = cost
        if self._deadline is not None:
            self._deadline += time.monotonic() - waited

    def _stop(self, refusal: Refusal) -> _BodyRefused:
        self.refusal = refusal
        return _BodyRefused()

    def has_left(self) -> bool:
        """Whether the client has gone."""
        return self._gone.done()

    async def client_leaves(self) -> None:
        """Returns when the client has gone before its answer was ready."""
        left: asyncio.Event | None = self.scope["state"].get("client_left")
        if left is not None:  # ``bounded_connection`` knows, whether or not anything asks for the body
            await left.wait()
            if not self._gone.done():
                self._gone.set_result({"type": "http.disconnect"})
            return
        await self._body_is_in.wait()
        if not self._gone.done():
            message = await self._receive()
            if not self._gone.done():
                self._gone.set_result(message)

    async def send(self, message: Message) -> None:
        """What the application answers; not what it made of a body that was refused."""
        if self.refusal is None:
            await self._pass_on(message)

    async def refuse(self, refusal: Refusal) -> None:
        """The answer to what the application has not answered; the connection ends with it."""
        self._limits.access_log.refused(self.scope, refusal.code)
        response = error_response(refusal, self.scope["state"]["request_id"], {"Connection": "close"})
        await response(self.scope, self._receive, self._pass_on)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.is_answering = message["status"], True
            headers = [*message["headers"], (b"x-request-id", self.scope["state"]["request_id"].encode())]
            if self._awaits_body and (b"connection", b"close") not in headers:
                headers.append((b"connection", b"close"))  # what was not asked for is not read
            message["headers"] = headers
        await self._send(message)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body has more than {max_bytes:,} bytes; send fewer or smaller items")


def _request_id(scope: Scope) -> str:
    """The client's own, where it sent a decent one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _GOOD_ID.fullmatch(sent) else secrets.token_hex(16)
