"""Costly work waits for its turn in a bounded queue, and ends where nobody waits for it any more.

Each kind of work has a queue with threads of its own, so that what one kind costs never holds up another: a hundred
people may ask where something is seen, and words are still searched for and ``/health`` still answers. What more is
asked for than a queue holds is refused at once with 503 and ``Retry-After``. Who types asks for something new after
every few keys: what the last letters wanted leaves the queue with the client, and what runs already is told to stop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from fastapi import HTTPException, Request

from babelclip.errors import BabelclipError

Outcome = TypeVar("Outcome")

CLIENT_CLOSED_REQUEST = 499
"""As nginx notes it; nobody is there to read it."""
RETRY_AFTER_SECONDS = 2
"""After which whoever was refused may ask again."""


class Stopped(BabelclipError):
    """Work that nobody waits for any more."""


class StopFlag:
    """Whether work is still wanted; work that takes long asks between its parts."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Nobody waits any more."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether nobody waits any more."""
        return self._event.is_set()

    def check(self) -> None:
        """End the work where nobody waits for it.

        Raises:
            Stopped: nobody does.
        """
        if self.is_set:
            raise Stopped("nobody waits for this any more")


class WorkQueue:
    """One kind of work: so much at once, in threads of its own, in the order in which it was asked for."""

    def __init__(self, name: str, *, at_once: int, waiting: int) -> None:
        """Nothing runs before it is asked for.

        Args:
            name: of its threads.
            at_once: how many pieces of work run at the same time.
            waiting: how many wait behind those; more are refused.
        """
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=f"page-{name}")
        self._free = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._unfinished: set[asyncio.Task[object]] = set()
        self._shared: dict[Hashable, _Job[object]] = {}

    async def run(self, request: Request, work: Callable[[StopFlag], Outcome], *, same_as: Hashable = None) -> Outcome:
        """What ``work`` gives; raises what it raises.

        Args:
            request: whose client waits for it. Its body, where it has one, has been read.
            work: runs in a thread, unless the client has gone before its turn.
            same_as: work with an equal key gives the same, so that who asks for it while it waits or runs shares it.

        Raises:
            HTTPException: 503 where the queue is full; 499 where the client has gone.
        """
        job = self._shared.get(same_as) if same_as is not None else None
        if job is None:
            job = self._begun(work, same_as)
        job.clients += 1
        leaving = asyncio.ensure_future(_client_leaves(request))
        try:
            await asyncio.wait({job.task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if job.task.done():
                return job.task.result()  # type: ignore[return-value]  # equal keys stand for equal work
            raise HTTPException(CLIENT_CLOSED_REQUEST)
        finally:
            leaving.cancel()
            job.clients -= 1
            if not job.clients:
                job.abandon()
                if self._shared.get(same_as) is job:
                    del self._shared[same_as]

    def _begun(self, work: Callable[[StopFlag], object], key: Hashable) -> _Job[object]:
        if len(self._unfinished) >= self._room:
            raise HTTPException(
                503,
                "too many others wait for the same kind of work already; try again in a moment",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        job = _Job(work, self._free, self._threads)
        self._unfinished.add(job.task)
        job.task.add_done_callback(self._ended)
        if key is not None:
            self._shared[key] = job
        return job

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: where all clients have gone, nobody else does


class _Job(Generic[Outcome]):
    """One piece of work, and for how many clients."""

    def __init__(
        self, work: Callable[[StopFlag], Outcome], free: asyncio.Semaphore, threads: ThreadPoolExecutor
    ) -> None:
        self.clients = 0
        self._work, self._free, self._threads = work, free, threads
        self._stop, self._runs = StopFlag(), False
        self.task = asyncio.ensure_future(self._take_turn())

    async def _take_turn(self) -> Outcome:
        async with self._free:
            self._runs = True
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._work, self._stop)

    def abandon(self) -> None:
        """Its clients have gone: out of the queue with it, or stop it at its next part.

        The thread of what runs is not free before that, so the task is left to wait for it.
        """
        self._stop.set()
        if not self._runs:
            self.task.cancel()


async def _client_leaves(request: Request) -> None:
    """Returns when the client has gone; what it sends until then is dropped."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
