"""The whole body of a request, and the status of an error.

A file of its own, because all routes share it.
"""

from __future__ import annotations

from fastapi import HTTPException, Request

from babelclip.errors import BabelclipError, ConfigError, InputError, RuntimeUnavailable

MAX_BODY_BYTES = 32 * 2**20
"""What a photo has, and not much more."""


async def whole_body(request: Request) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 for more than ``MAX_BODY_BYTES``, as soon as they are there.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the request has more than {MAX_BODY_BYTES:,} bytes")
    return bytes(body)


def status_of(error: BabelclipError) -> int:
    """400 for what was asked wrongly, 503 where the model is away for a while, else 500."""
    if isinstance(error, InputError | ConfigError):
        return 400
    return 503 if isinstance(error, RuntimeUnavailable) else 500
