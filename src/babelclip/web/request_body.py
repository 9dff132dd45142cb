"""The body of a request, whole, up to what a photo has.

A file of its own, because the page and the playground read bodies alike.
"""

from __future__ import annotations

from fastapi import HTTPException, Request

LARGEST = 32 * 2**20
"""Bytes."""


async def whole_body(request: Request) -> bytes:
    """The bytes of a body.

    Raises:
        HTTPException: more than ``LARGEST`` bytes, as soon as they are there.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise HTTPException(413, f"the request has more than {LARGEST:,} bytes")
    return bytes(body)
