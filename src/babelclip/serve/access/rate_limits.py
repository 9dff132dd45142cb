"""How fast a key may go: requests a minute, tokens a minute, requests under way at once.

Kept in memory alone: a server that starts anew starts with empty windows.

What is promised: in no 60 seconds, wherever they begin, does a key get more than its limit. A window counts by whole
seconds, so what was used is forgotten up to one second late, never early.

By hand, because of that promise. The library for it (limits 5.8) keeps its exact window as one entry for every unit
that was taken: 4,000 for an image, a million for a key. Its cheaper windows are approximations, its clock is the
wall's, and it does not tell after how many seconds a request of this very price fits.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from babelclip.errors import ConfigError
from babelclip.serve.errors import RateExceeded, TooManyAtOnce, TooManyRequests, TooManyTokens

MINUTE = 60  # seconds
MAX_LIMIT = 10**15  # of any kind: far from what a 64-bit integer holds
WAIT_FOR_OTHERS = 1  # seconds; when a request that is under way will end is not known


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The limits of one key; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
            limit = getattr(self, name)
            if limit is not None and not 1 <= limit <= MAX_LIMIT:
                raise ConfigError(f"{name} is from 1 to {MAX_LIMIT:,}, found {limit:,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RemainingQuota:
    """What a key has left for now; None is no limit."""

    requests: int | None
    tokens: int | None

    def headers(self) -> dict[str, str]:
        """Jina's rate headers; a limit that the key does not have has no header."""
        left = {"X-RateLimit-Remaining-Requests": self.requests, "X-RateLimit-Remaining-Tokens": self.tokens}
        return {name: str(value) for name, value in left.items() if value is not None}


class SlidingWindow:
    """How much was used in the last minute, in at most 62 numbers however much it was."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque()  # (second of the clock, what was used in it), oldest first
        self.used = 0

    def forget(self, now: float) -> None:
        """Drop the seconds that ended a minute ago or earlier."""
        while self._seconds and _forgotten_at(self._seconds[0][0]) <= now:
            self.used -= self._seconds.popleft()[1]

    def add(self, amount: int, now: float) -> None:
        """Count what is used now."""
        self.used += amount
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            amount += self._seconds.pop()[1]
        self._seconds.append((second, amount))

    def wait(self, amount: int, limit: int, now: float) -> int | None:
        """Whole seconds until ``amount`` more fits under ``limit``; 0 is at once, None never."""
        if amount > limit:
            return None
        excess, until = self.used + amount - limit, now
        for second, used in self._seconds:
            if excess <= 0:
                break
            excess -= used
            until = _forgotten_at(second)
        return math.ceil(until - now)


def _forgotten_at(second: int) -> int:
    return second + 1 + MINUTE  # counted from the end of the second: what was used last in it is a minute old then


@dataclass(slots=True)
class _Meter:
    """What one key has used."""

    requests: SlidingWindow = field(default_factory=SlidingWindow)
    tokens: SlidingWindow = field(default_factory=SlidingWindow)
    under_way: int = 0


class RateLimiter:
    """The meters of all keys. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has used anything yet.

        Args:
            clock: gives seconds that never go back.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._meters: defaultdict[str, _Meter] = defaultdict(_Meter)

    def acquire(self, key_id: str, rates: Rates, on_release: Callable[[], None] = lambda: None) -> RateLimitLease:
        """Admit a request; one that is refused counts nowhere.

        Args:
            rates: those of the key now; a change takes effect with the next request.
            on_release: is called when the request has ended.

        Raises:
            TooManyRequests: more than a minute's.
            TooManyAtOnce: too many are under way.
        """
        with self._lock:
            meter, now = self._meter(key_id)
            if rates.requests_per_minute is not None:
                wait = meter.requests.wait(1, rates.requests_per_minute, now)
                if wait != 0:
                    said = f"This API key may send {rates.requests_per_minute:,} requests a minute"
                    raise _refuse(TooManyRequests, said, wait, _remaining(meter, rates))
            if rates.concurrency is not None and meter.under_way >= rates.concurrency:
                raise _full(meter, rates)
            meter.requests.add(1, now)
            meter.under_way += 1
        return RateLimitLease(self, key_id, rates, on_release)

    def has_room(self, key_id: str, rates: Rates) -> bool:
        """Whether one more may be under way at once."""
        with self._lock:
            return rates.concurrency is None or self._meters[key_id].under_way < rates.concurrency

    def full(self, key_id: str, rates: Rates) -> RateExceeded:
        """Why one more is too many at once."""
        with self._lock:
            return _full(self._meter(key_id)[0], rates)

    def take_tokens(self, key_id: str, rates: Rates, tokens: int) -> RemainingQuota:
        """Count the price of a request that was admitted.

        Raises:
            TooManyTokens: more than a minute's; no token was counted.
        """
        with self._lock:
            meter, now = self._meter(key_id)
            if rates.tokens_per_minute is not None:
                wait = meter.tokens.wait(tokens, rates.tokens_per_minute, now)
                if wait != 0:
                    said = (
                        f"This request costs {tokens:,} tokens and this API key may use "
                        f"{rates.tokens_per_minute:,} a minute"
                    )
                    raise _refuse(TooManyTokens, said, wait, _remaining(meter, rates))
            meter.tokens.add(tokens, now)
            return _remaining(meter, rates)

    def remaining(self, key_id: str, rates: Rates) -> RemainingQuota:
        """What the key has left now."""
        with self._lock:
            return _remaining(self._meter(key_id)[0], rates)

    def release(self, key_id: str) -> None:
        """A request of the key has ended. ``RateLimitLease.release`` calls it, once."""
        with self._lock:
            self._meters[key_id].under_way -= 1

    def _meter(self, key_id: str) -> tuple[_Meter, float]:
        meter, now = self._meters[key_id], self._clock()
        meter.requests.forget(now)
        meter.tokens.forget(now)
        return meter, now


class RateLimitLease:
    """One request under way. Use it in a ``with``, or release it when the request has ended, however it ended."""

    def __init__(self, limiter: RateLimiter, key_id: str, rates: Rates, on_release: Callable[[], None]) -> None:
        self._limiter, self._key_id, self._rates, self._on_release = limiter, key_id, rates, on_release
        self._is_released = False

    def take_tokens(self, tokens: int) -> RemainingQuota:
        """As ``RateLimiter.take_tokens``. May be called again when more of the price becomes known."""
        return self._limiter.take_tokens(self._key_id, self._rates, tokens)

    def remaining(self) -> RemainingQuota:
        """What the key has left now."""
        return self._limiter.remaining(self._key_id, self._rates)

    def release(self) -> None:
        """End it; a second call changes nothing."""
        if not self._is_released:
            self._is_released = True
            self._limiter.release(self._key_id)
            self._on_release()

    def __enter__(self) -> RateLimitLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _remaining(meter: _Meter, rates: Rates) -> RemainingQuota:
    def left(limit: int | None, used: int) -> int | None:
        return None if limit is None else max(limit - used, 0)  # a limit may have been lowered below what was used

    return RemainingQuota(
        requests=left(rates.requests_per_minute, meter.requests.used),
        tokens=left(rates.tokens_per_minute, meter.tokens.used),
    )


def _full(meter: _Meter, rates: Rates) -> RateExceeded:
    said = f"This API key may have {rates.concurrency:,} requests under way at once"
    return _refuse(TooManyAtOnce, said, WAIT_FOR_OTHERS, _remaining(meter, rates))


def _refuse(kind: type[RateExceeded], said: str, wait: int | None, remaining: RemainingQuota) -> RateExceeded:
    advice = "send less in one request" if wait is None else f"try again in {wait} s"
    return kind(f"{said}; {advice}", retry_after=wait, headers=remaining.headers())
