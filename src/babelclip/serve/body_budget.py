"""How many bytes of bodies the server holds at once; who comes when they are taken waits a while for room."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

FREE_BYTES = 16 * 2**10
"""Of each body, not counted: a small request passes however many large ones are under way. There are at most as many
as there are connections."""
RETRY_SECONDS = 1
"""When there is likely room again: requests take less."""


class BodyBudget:
    """Bytes that are taken and given back. All of it runs in one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int, seconds: float) -> None:
        """Take so many bytes, waiting behind those who came before.

        Raises:
            TimeoutError: there was no room in time; nothing was taken.
        """
        if not self._waiting and self.held + size <= self.total:
            self.held += size
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            async with asyncio.timeout(seconds):
                await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self.give_back(size)  # it came at the last moment
            else:
                with contextlib.suppress(ValueError):  # it was passed over already
                    self._waiting.remove((size, granted))
                self._grant()
            raise

    def give_back(self, size: int) -> None:
        """Let others have it."""
        self.held -= size
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self.held + self._waiting[0][0] <= self.total:
            size, granted = self._waiting.popleft()
            if not granted.done():
                self.held += size
                granted.set_result(None)
