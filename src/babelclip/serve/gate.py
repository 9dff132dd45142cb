"""Who may come in, how fast, and what it costs them: keys, rates and balances before and after a request.

    with gate.enter(authorization) as guest:   # 401, or 429 when requests are over the rate
        ...                                    # items are read and priced
        guest.reserve(usage)                   # 429 over the tokens a minute, 403 when the balance does not cover it
        ...                                    # the model works
        await guest.settle(usage)              # on the disk when it returns; then the answer is sent

Without a key file everybody is a guest to whom nothing is counted.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

from babelclip.serve.balances import Balances, Reservation
from babelclip.serve.costs import Usage
from babelclip.serve.keys import Key, KeyFile, secret_from
from babelclip.serve.limits import Limits, Visit

CHARGING_THREADS = 8  # charges that wait at the same time go to the disk together


class Guest(Protocol):
    """A request that is in."""

    @property
    def key_id(self) -> str | None:
        """The public id of its key, for the log; None: it has none."""
        ...

    @property
    def default_dim(self) -> int | None:
        """The width of vectors where a request names none; None: the model's own."""
        ...

    def reserve(self, usage: Usage) -> None:
        """Set the price aside. Raises: a Refusal."""
        ...

    async def settle(self, usage: Usage) -> None:
        """Charge what was used. Raises: a Refusal, and then no answer must be sent."""
        ...

    def headers(self) -> dict[str, str]:
        """What is left, for the answer."""
        ...

    def __enter__(self) -> Guest: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Gate(Protocol):
    """Lets requests in."""

    def enter(self, authorization: str | None) -> Guest:
        """authorization: the header of that name. Raises: a Refusal."""
        ...


class OpenGate:
    """No keys are asked for, nothing is counted."""

    def enter(self, authorization: str | None) -> Guest:
        """As ``Gate.enter``."""
        return _AnyGuest()


class _AnyGuest:
    key_id: str | None = None
    default_dim: int | None = None

    def reserve(self, usage: Usage) -> None:
        """Nothing to set aside."""

    async def settle(self, usage: Usage) -> None:
        """Nothing to charge."""

    def headers(self) -> dict[str, str]:
        """Nothing is limited."""
        return {}

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class KeyGate:
    """Every request needs a key of a file. One to a server process."""

    def __init__(self, keys: KeyFile, limits: Limits | None = None) -> None:
        self._keys, self._limits = keys, limits or Limits()
        self._balances = Balances(keys)
        self._threads = ThreadPoolExecutor(CHARGING_THREADS, thread_name_prefix="charge")

    def enter(self, authorization: str | None) -> Guest:
        """As ``Gate.enter``."""
        key = self._keys.find(secret_from(authorization))
        return _KeyGuest(key, self._limits.enter(key.id, key.rates), self._balances, self._threads)


class _KeyGuest:
    def __init__(self, key: Key, visit: Visit, balances: Balances, threads: ThreadPoolExecutor) -> None:
        self._key, self._visit, self._balances, self._threads = key, visit, balances, threads
        self._reservation: Reservation | None = None

    @property
    def key_id(self) -> str | None:
        return self._key.id

    @property
    def default_dim(self) -> int | None:
        return self._key.default_dim

    def reserve(self, usage: Usage) -> None:
        self._visit.take_tokens(usage.total)
        self._reservation = self._balances.reserve(self._key.id, usage.total)

    async def settle(self, usage: Usage) -> None:
        """A client that goes away meanwhile does not stop it: the work was done, and the charge is being written."""
        assert self._reservation is not None, "what is charged was reserved"
        charging = asyncio.get_running_loop().run_in_executor(
            self._threads, self._balances.settle, self._reservation, usage
        )
        await asyncio.shield(charging)

    def headers(self) -> dict[str, str]:
        return self._visit.standing().headers()

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reservation is not None:
            self._balances.release(self._reservation)
        self._visit.leave()
