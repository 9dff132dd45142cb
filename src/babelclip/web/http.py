"""What comes in by HTTP, within bounds: bodies, numbers of an address; and the status of an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from babelclip.errors import BabelclipError, ConfigError, InputError, RuntimeUnavailable
from babelclip.web.work_queue import CLIENT_CLOSED_REQUEST, RETRY_AFTER_SECONDS

MAX_BODY_BYTES = 32 * 2**20
"""What a photo has, and not much more."""
MAX_HELD_BYTES = 128 * 2**20
"""Of the bodies of all requests that are under way."""
BODY_SECONDS = 30.0
"""Within which a body must have come in."""
_MAX_DIGITS = 18
_CLOSE = {"Connection": "close"}  # what else the client would send is not read


class Bodies:
    """The bodies of all requests that are under way: each has a limit of bytes and time, and all together of bytes."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, counted as held until its work is done.

        Raises:
            HTTPException: 413 for more than ``MAX_BODY_BYTES``, as soon as they are stated or there; 408 for one that
                comes too slowly; 503 where bodies of others fill what may be held.
        """
        if _stated_length(request) > MAX_BODY_BYTES:
            raise _too_large()
        body, size = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    async for part in request.stream():
                        size += len(part)
                        self._held += len(part)
                        body += part
                        self._check(size)
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {BODY_SECONDS:.0f} seconds", _CLOSE) from None
            except ClientDisconnect:
                raise HTTPException(CLIENT_CLOSED_REQUEST) from None
            whole = bytes(body)
            body.clear()
            yield whole
        finally:
            self._held -= size

    def _check(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if self._held > MAX_HELD_BYTES:
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS), **_CLOSE}
            raise HTTPException(503, "others send as much as is taken at once; try again in a moment", retry)


def _stated_length(request: Request) -> int:
    stated = request.headers.get("content-length", "")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else 0


def _too_large() -> HTTPException:
    return HTTPException(413, f"the request has more than {MAX_BODY_BYTES:,} bytes", _CLOSE)


def whole_number(given: str, name: str, least: int, most: int) -> int:
    """A number of an address.

    Raises:
        ConfigError: it is none, or not from ``least`` to ``most``.
    """
    is_number = given.isascii() and given.isdigit() and len(given) <= _MAX_DIGITS
    if not is_number or not least <= int(given) <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most}")
    return int(given)


def status_of(error: BabelclipError) -> int:
    """400 for what was asked wrongly, 503 where the model is away for a while, else 500."""
    if isinstance(error, InputError | ConfigError):
        return 400
    return 503 if isinstance(error, RuntimeUnavailable) else 500
