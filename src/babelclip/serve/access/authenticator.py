"""Who may ask, how fast, and what it costs them: keys, rates and balances before and after a request.

    with await authenticator.admit(authorization) as client:   # 401, or 429 when requests are over the rate
        ...                                              # items are read and priced
        client.reserve(usage)                            # 429 over the tokens a minute, 403 over the balance
        ...                                              # the model works
        await client.settle(usage)                       # on the disk when it returns; then the answer is sent

Who leaves before the answer pays for the items that the model has begun with, and for no other.

Without a key file everybody is admitted and nothing is counted.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

from babelclip.serve.access.balances import Balances, Reservation
from babelclip.serve.access.keys import Key, KeyFile, secret_from
from babelclip.serve.access.rate_limits import RateLimiter, RateLimitLease
from babelclip.serve.access.waiting_lines import WaitingLineLimits, WaitingLines
from babelclip.serve.access_log import LOGGER
from babelclip.serve.pricing import PricedItem, Usage, usage_of

CHARGING_THREADS = 8  # charges that wait at the same time go to the disk together


class Client(Protocol):
    """Who sent a request that was admitted, for as long as the request lasts."""

    @property
    def key_id(self) -> str | None:
        """The public id of its key, for the log; None: it has none."""
        ...

    @property
    def default_dim(self) -> int | None:
        """The width of vectors where a request names none; None: the model's own."""
        ...

    def reserve(self, usage: Usage) -> None:
        """Set the price aside.

        Raises:
            TooManyTokens: the key may not use so many in this minute; nothing was set aside.
            InsufficientBalance: the key has not so many prepaid; nothing was set aside.
        """
        ...

    async def settle(self, usage: Usage) -> None:
        """Charge what was used.

        Raises:
            InsufficientBalance: the balance was spent meanwhile; no answer must be sent.
        """
        ...

    def begins(self, item: PricedItem) -> None:
        """Note that the model begins with an item."""
        ...

    def leave(self) -> None:
        """It has left and gets no answer: charge what the model has begun with, without waiting for that."""
        ...

    def quota_headers(self) -> dict[str, str]:
        """What is left, for the answer."""
        ...

    def __enter__(self) -> Client: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Authenticator(Protocol):
    """Admits requests."""

    async def admit(self, authorization: str | None) -> Client:
        """Admit a request, once it is its turn among those of the same key.

        Args:
            authorization: the header of that name.

        Raises:
            Refusal: it has no good key, or too many requests were sent with it.
        """
        ...


class NoAuth:
    """No keys are asked for, nothing is counted."""

    async def admit(self, authorization: str | None) -> Client:
        """As ``Authenticator.admit``."""
        return _AnonymousClient()


class _AnonymousClient:
    key_id: str | None = None
    default_dim: int | None = None

    def reserve(self, usage: Usage) -> None:
        """Nothing to set aside."""

    async def settle(self, usage: Usage) -> None:
        """Nothing to charge."""

    def begins(self, item: PricedItem) -> None:
        """Nothing to note."""

    def leave(self) -> None:
        """Nothing to charge."""

    def quota_headers(self) -> dict[str, str]:
        """Nothing is limited."""
        return {}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ApiKeyAuth:
    """Every request needs a key of a file. One to a server process."""

    def __init__(
        self, keys: KeyFile, limiter: RateLimiter | None = None, limits: WaitingLineLimits | None = None
    ) -> None:
        self._keys, self._lines = keys, WaitingLines(limiter or RateLimiter(), limits or WaitingLineLimits())
        self._balances = Balances(keys)
        self._threads = ThreadPoolExecutor(CHARGING_THREADS, thread_name_prefix="charge")

    async def admit(self, authorization: str | None) -> Client:
        """As ``Authenticator.admit``."""
        key = self._keys.find(secret_from(authorization))
        return _KeyClient(key, await self._lines.take(key.id, key.rates), self._balances, self._threads)


class _KeyClient:
    def __init__(self, key: Key, lease: RateLimitLease, balances: Balances, threads: ThreadPoolExecutor) -> None:
        self._key, self._lease, self._balances, self._threads = key, lease, balances, threads
        self._reservation: Reservation | None = None  # None: there is none yet, or it is being charged
        self._begun = Usage()

    @property
    def key_id(self) -> str | None:
        return self._key.id

    @property
    def default_dim(self) -> int | None:
        return self._key.default_dim

    def reserve(self, usage: Usage) -> None:
        self._lease.take_tokens(usage.total)
        self._reservation = self._balances.reserve(self._key.id, usage.total)

    async def settle(self, usage: Usage) -> None:
        """A client that goes away meanwhile does not stop it: the work was done, and the charge is being written."""
        await asyncio.shield(self._charge(usage))

    def begins(self, item: PricedItem) -> None:
        self._begun += usage_of([item])

    def leave(self) -> None:
        if self._reservation is not None and self._begun.total:
            self._charge(self._begun).add_done_callback(_tell_uncharged)

    def _charge(self, usage: Usage) -> asyncio.Future[None]:
        """Hand the reservation to a thread: however the request ends, it is not given up before it was charged."""
        reservation, self._reservation = self._reservation, None
        assert reservation is not None, "what is charged was reserved"

        def settle() -> None:
            try:
                self._balances.settle(reservation, usage)
            finally:
                self._balances.release(reservation)  # nothing, where it was charged

        return asyncio.get_running_loop().run_in_executor(self._threads, settle)

    def quota_headers(self) -> dict[str, str]:
        return self._lease.remaining().headers()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reservation is not None:
            self._balances.release(self._reservation)
        self._lease.release()


def _tell_uncharged(charging: asyncio.Future[None]) -> None:
    """Nobody waits for what a client that has left pays, so the log is told where it could not be charged."""
    if (error := charging.exception()) is not None:
        LOGGER.warning("left_uncharged", extra={"fields": {"kind": type(error).__name__}})
