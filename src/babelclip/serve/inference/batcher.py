"""One queue in front of one tower: many requests share a batch, and none waits for a batch to fill.

A lone item starts at once; while the tower works, others gather and go together, up to a budget of cost (tokens or
pixels, not items). Requests take turns, an item each, so that one with a thousand texts does not hold up one with a
single query. What waits is bounded by cost, and what would be over the bound is told when to come back, reckoned from
how fast the tower has lately been.

Who waits always hears: a failing batch is cut in halves until the failing item is alone, and the loss of
what runs the model (``BackendLost``) goes to everybody whose item was in the batch.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from babelclip.errors import BabelclipError, ConfigError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Run = Callable[[Sequence[_Item]], Awaitable[Sequence[_Result | Exception]]]
"""Items -> one result each, or the exception that an item caused; raises when it cannot tell which item it was."""

FIRST_RATE = 2000.0  # cost a second that is assumed before anything was measured
RATE_MEMORY = 0.8  # how much of the measured rate is what was measured before the last batch


class BackendLost(BabelclipError):
    """What runs the model is gone. Items were not at fault, and may be sent again."""


class Overloaded(BabelclipError):
    """Too much is waiting already.

    Attributes:
        retry_after: whole seconds until it is likely to fit.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDown(BabelclipError):
    """The server is shutting down and takes nothing new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """Of one queue; cost is in tokens for texts, in pixels for images."""

    batch_cost: int
    batch_items: int
    waiting_cost: int  # of all items that wait
    in_flight: int = 1  # batches at once: with two, the images of one are decoded while the tower works on another

    def __post_init__(self) -> None:
        if min(self.batch_cost, self.batch_items, self.waiting_cost, self.in_flight) < 1:
            raise ConfigError(f"limits of a batch are at least 1, found {self}")


class Watcher(Protocol):
    """Hears what the queue does; for metrics."""

    def batch_done(self, items: int, cost: int, seconds: float) -> None:
        """A batch has been run."""
        ...


@dataclass(slots=True)
class _Waiting(Generic[_Item, _Result]):
    """An item, and who waits for it."""

    item: _Item
    cost: int
    answer: asyncio.Future[_Result | Exception]
    begins: Callable[[_Item], None]


@dataclass(slots=True)
class _Request(Generic[_Item, _Result]):
    """What one request still has in the queue."""

    waiting: deque[_Waiting[_Item, _Result]] = field(default_factory=deque)


class Batcher(Generic[_Item, _Result]):
    """The queue of one tower. All of it runs in one event loop."""

    def __init__(self, run: Run[_Item, _Result], limits: BatchLimits) -> None:
        self._run, self.limits = run, limits
        self.watcher: Watcher | None = None
        self._requests: deque[_Request[_Item, _Result]] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._rate = FIRST_RATE
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(limits.in_flight)
        self._running: set[asyncio.Task[None]] = set()
        self.waiting_cost = 0

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._task = asyncio.create_task(self._work())

    async def close(self, seconds: float) -> bool:
        """Take nothing new and finish what was accepted; False when that took too long and some were told so."""
        self._is_closing = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
            finished = True
        except TimeoutError:
            finished = False
        working = [*self._running, *([] if self._task is None else [self._task])]
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        self._answer_all(ShuttingDown("the server was stopped before this was done; send it again"))
        return finished

    async def submit(
        self, items: Sequence[_Item], costs: Sequence[int], begins: Callable[[_Item], None] = lambda item: None
    ) -> list[_Result | Exception]:
        """The result of each item of a request, in order, or the exception that it caused.

        A caller that is cancelled takes its items out of the queue at once, but for a batch that has begun.

        Args:
            costs: of the items.
            begins: is told each item when its batch begins.

        Raises:
            Overloaded: too much is waiting; nothing was queued.
            ShuttingDown: the server takes nothing new; nothing was queued.
        """
        self._admit(sum(costs))
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(item, cost, loop.create_future(), begins) for item, cost in zip(items, costs, strict=True)]
        if not waiting:
            return []
        request = _Request(deque(waiting))
        self._requests.append(request)
        self.waiting_cost += sum(costs)
        self._idle.clear()
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(each.answer for each in waiting)))
        finally:
            for each in waiting:
                each.answer.cancel()  # nothing, where it has been answered
            self._drop(request)

    def _drop(self, request: _Request[_Item, _Result]) -> None:
        """Whoever comes next finds room where one has left."""
        self.waiting_cost -= sum(each.cost for each in request.waiting)
        request.waiting.clear()

    def _admit(self, cost: int) -> None:
        if self._is_closing:
            raise ShuttingDown("the server is shutting down; send it elsewhere or later")
        limit = self.limits.waiting_cost
        if self.waiting_cost and self.waiting_cost + cost > limit:  # an empty queue takes a request of any size
            excess = min(self.waiting_cost, self.waiting_cost + cost - limit)
            raise Overloaded("too much is waiting already; try again later", max(1, math.ceil(excess / self._rate)))

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            await self._slots.acquire()
            batch = self._take()
            if not batch:
                self._slots.release()
                self._arrived.clear()
                self._rest()
                continue
            task = asyncio.create_task(self._run_batch(batch))
            self._running.add(task)
            task.add_done_callback(self._batch_done)

    async def _run_batch(self, batch: Sequence[_Waiting[_Item, _Result]]) -> None:
        cost, started = sum(each.cost for each in batch), time.monotonic()
        await self._answer(batch)
        seconds = time.monotonic() - started
        self._rate = RATE_MEMORY * self._rate + (1 - RATE_MEMORY) * cost / max(seconds, 1e-6)
        if self.watcher is not None:
            self.watcher.batch_done(len(batch), cost, seconds)

    def _batch_done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()
        self._rest()

    def _rest(self) -> None:
        """Nothing waits and nothing runs: whoever wants to close may."""
        if not self._requests and not self._running:
            self._idle.set()

    def _take(self) -> list[_Waiting[_Item, _Result]]:
        """The next batch: an item of each request in turn, until the budget is full. The first always fits."""
        batch: list[_Waiting[_Item, _Result]] = []
        cost = 0
        while self._requests and len(batch) < self.limits.batch_items:
            request = self._requests[0]
            if not request.waiting:  # all has been taken, or its caller is gone
                self._requests.popleft()
                continue
            if batch and cost + request.waiting[0].cost > self.limits.batch_cost:
                break
            each = request.waiting.popleft()
            self.waiting_cost -= each.cost
            cost += each.cost
            batch.append(each)
            each.begins(each.item)
            self._requests.rotate(-1)
        return batch

    async def _answer(self, batch: Sequence[_Waiting[_Item, _Result]]) -> None:
        """Run a batch and tell each who waits; one that fails as a whole is tried again in halves."""
        batch = [each for each in batch if not each.answer.done()]  # those who have left are not tried again
        if not batch:
            return
        try:
            results = await self._run([each.item for each in batch])
            if len(results) != len(batch):
                raise BackendLost(f"the model gave {len(results)} results for {len(batch)} items")
        except asyncio.CancelledError:
            _tell(batch, [ShuttingDown("the server was stopped before this was done; send it again")] * len(batch))
            raise
        except Exception as error:
            if len(batch) == 1 or isinstance(error, BackendLost):
                _tell(batch, [error] * len(batch))
                return
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])
            return
        _tell(batch, results)

    def _answer_all(self, error: Exception) -> None:
        """Tell everybody who still waits."""
        for request in self._requests:
            _tell(list(request.waiting), [error] * len(request.waiting))
        self._requests.clear()
        self.waiting_cost = 0


def _tell(batch: Sequence[_Waiting[_Item, _Result]], results: Sequence[_Result | Exception]) -> None:
    for each, result in zip(batch, results, strict=True):
        if not each.answer.done():
            each.answer.set_result(result)
