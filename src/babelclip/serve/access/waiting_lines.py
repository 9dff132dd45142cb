"""A burst waits its turn: requests of one key that are too many at once start one after the other.

Who waits has sent a head and no more: the body is read when it is its turn, so a line costs a connection each and no
memory for what they want. A line has an end, and nobody stands in it for ever.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass

from babelclip.errors import ConfigError
from babelclip.serve.access.rate_limits import RateLimiter, RateLimitLease, Rates
from babelclip.serve.errors import TooManyAtOnce


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingLineLimits:
    """How many requests of a key may wait, and how long each."""

    max_waiting: int = 128
    seconds: float = 20.0

    def __post_init__(self) -> None:
        if self.max_waiting < 0 or self.seconds <= 0:
            raise ConfigError(f"at least 0 requests wait for more than 0 seconds, found {self}")


class WaitingLines:
    """The lines of all keys. All of it runs in one event loop."""

    def __init__(self, limiter: RateLimiter, limits: WaitingLineLimits) -> None:
        """Nobody waits yet.

        Args:
            limiter: says whether a request may start.
            limits: of each key's line.
        """
        self._limiter, self._limits = limiter, limits
        self._lines: defaultdict[str, deque[asyncio.Future[None]]] = defaultdict(deque)

    async def take(self, key_id: str, rates: Rates) -> RateLimitLease:
        """Admit a request, at once where there is room and nobody waits before it.

        Raises:
            TooManyRequests: more than a minute's; that is not waited for.
            TooManyAtOnce: too many wait already, or its turn did not come in time.
        """
        line = self._lines[key_id]
        try:
            if not line:
                return self._lease(key_id, rates)
            full = self._limiter.full(key_id, rates)
        except TooManyAtOnce as error:
            full = error
        if len(line) >= self._limits.max_waiting:
            raise full
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await mine
            return self._lease(key_id, rates)
        except TimeoutError:
            raise full from None
        finally:
            if mine in line:
                line.remove(mine)
            self._call_next(key_id, rates)

    def _lease(self, key_id: str, rates: Rates) -> RateLimitLease:
        return self._limiter.acquire(key_id, rates, on_release=lambda: self._call_next(key_id, rates))

    def _call_next(self, key_id: str, rates: Rates) -> None:
        """There may be room for the first in the line."""
        line = self._lines[key_id]
        if line and self._limiter.has_room(key_id, rates) and not line[0].done():
            line[0].set_result(None)
        if not line:
            self._lines.pop(key_id, None)
