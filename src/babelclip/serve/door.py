"""What every request passes first: it gets an id, and its body is counted while it comes in.

Plain ASGI, so that a body over the limit is refused after as many bytes, whatever its headers promised.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.serve.answers import error_answer

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Door:
    """Middleware around the application."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app, self._most = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise _TooMuch
            return message

        async def answer(message: Message) -> None:
            if received > self._most:
                return  # the application has made an answer of its own out of it
            await _with_id(message, request_id, send)

        if _stated_length(scope) <= self._most:
            with suppress(_TooMuch):
                await self._app(scope, count, answer)
            if received <= self._most:
                return
        said = f"the body has more than {self._most:,} bytes; send fewer or smaller items"
        refused = error_answer(413, "INPUT_SIZE_LIMIT_EXCEEDED", said, request_id, headers={"Connection": "close"})
        await refused(scope, receive, partial(_with_id, request_id=request_id, send=send))


class _TooMuch(Exception):
    """The body is over the limit."""


async def _with_id(message: Message, request_id: str, send: Send) -> None:
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
    await send(message)


def _request_id(scope: Scope) -> str:
    """The client's own, where it sent a decent one."""
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _GOOD_ID.fullmatch(sent) else secrets.token_hex(16)


def _stated_length(scope: Scope) -> int:
    stated = dict(scope["headers"]).get(b"content-length", b"")
    return int(stated) if stated.isdigit() else 0
