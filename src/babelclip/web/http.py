"""What comes in by HTTP, within bounds: bodies, numbers of an address; and the status of an error."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from babelclip.errors import BabelclipError, ConfigError, InputError, RuntimeUnavailable
from babelclip.web.work_queue import CLIENT_CLOSED_REQUEST

_MAX_DIGITS = 18


async def read_upload(request: Request, max_bytes: int) -> bytes:
    """The body of a request; the server around the page bounds its time, and what all bodies hold together.

    Raises:
        HTTPException: 413 for more bytes than that, as soon as they are stated or there.
    """
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and (len(stated) > _MAX_DIGITS or int(stated) > max_bytes):
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async for part in request.stream():
            if len(body) + len(part) > max_bytes:
                raise _too_large(max_bytes)
            body += part
    except ClientDisconnect:
        raise HTTPException(CLIENT_CLOSED_REQUEST) from None
    return bytes(body)


def _too_large(max_bytes: int) -> HTTPException:
    close = {"Connection": "close"}  # what else the client would send is not read
    return HTTPException(413, f"the request has more than {max_bytes:,} bytes", close)


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
