"""Work waits for its turn, and is not begun when whoever asked for it has gone.

Who types asks for something new after every few keys, and what the last letters wanted must not wait for pictures of
what is no longer shown.

A file of its own, because searches and pictures, two files of routes, have a limit each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

CLIENT_CLOSED_REQUEST = 499
"""As nginx notes it; nobody is there to read it."""


class ConcurrencyLimit:
    """So much work at once, in threads, in the order in which it was asked for."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def run(self, request: Request, work: Callable[[], Response]) -> Response:
        """What ``work`` answers; raises what it raises."""
        if request.method == "GET":
            await request.body()  # it has none; after its end comes that the client has gone
        async with self._free:
            if await request.is_disconnected():
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            return await run_in_threadpool(work)
