"""The front's hold on a worker process: it asks, it listens, and it starts another when that one works no more.

Whatever was asked of a worker that dies is answered with ``BackendLost`` at once, and is not asked again by itself: an
item that kills a worker would kill the next one too. Another is started right away, and after a second death soon
after the first a little later each time. One that cannot be started (no descriptor, no memory) is tried again as well,
for as long as the server runs. One that is there and does nothing is killed: it answers no pings, or not what it was
asked, or is never ready (``Patience``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from babelclip.arrays import Vectors
from babelclip.serve.access_log import LOGGER
from babelclip.serve.inference.backend import results_of
from babelclip.serve.inference.batcher import BackendLost
from babelclip.serve.inference.ipc import (
    InferenceCall,
    InferenceReply,
    MessageKind,
    Ping,
    Ready,
    pack_message,
    read_message,
)
from babelclip.serve.inference.worker_output import WorkerOutput
from babelclip.serve.pricing import ItemContent

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds before another is started, doubling while they die young
YOUNG = 60.0  # seconds
STOP_SECONDS = 0.5  # in which a process ends by itself; it holds nothing that would be lost
WORKER_MODULE = "babelclip.serve.inference.worker_process"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a process may do nothing before another takes its place."""

    ping_pause: float = 5.0  # seconds between two pings
    ping_seconds: float = 10.0  # for the answer to one
    pings: int = 3  # that are missed in a row; a machine that slept costs one
    call_seconds: float = 120.0  # for one call: after this the model counts as unwell, after twice as long as hung
    start_seconds: float = 60.0  # of a new process, or ten times what the first took, where that is longer


class Worker:
    """One model in a process of its own. All of it runs in one event loop."""

    def __init__(self, model: str, options: Sequence[str] = (), patience: Patience | None = None) -> None:
        """Nothing runs before ``start``.

        Args:
            model: a folder or a name that ``babelclip.load`` takes.
            options: of ``worker_process``.
            patience: with a process that does nothing.
        """
        self._arguments = [model, *options]
        self._patience = patience or Patience()
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[InferenceReply | Ping]] = {}
        self._calls: dict[int, float] = {}  # that have no answer: since when; those whose caller has gone too
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._said: WorkerOutput | None = None
        self._ready = asyncio.Event()
        self._born = 0.0
        self._first_start = 0.0  # seconds that it took
        self._missed_pings = 0
        self._is_refused = False  # it runs another model than before
        self._keepers: list[asyncio.Task[None]] = []
        self.facts: dict[str, str | int | None] = {}
        self.starts = 0

    async def start(self) -> None:
        """Start the process and return when its model is warm.

        Raises:
            BackendLost: it ended before that, as it does when the model cannot be opened; the message says why.
        """
        await self._spawn()
        first = asyncio.create_task(self._ready.wait())
        keeper = asyncio.create_task(self._keep())
        self._keepers = [keeper, asyncio.create_task(self._watch())]
        await asyncio.wait({first, keeper}, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            first.cancel()
            said = "" if self._said is None else self._said.last
            raise BackendLost(f"the worker process ended before its model was ready: {said or 'it said nothing'}")
        for task in self._keepers:
            task.add_done_callback(_end_with)

    @property
    def is_ready(self) -> bool:
        """Whether there is a process with a warm model now, which answers."""
        return self._ready.is_set() and self._missed_pings == 0

    async def run(
        self, kind: MessageKind, items: Sequence[ItemContent], task: str | None = None
    ) -> list[Vectors | Exception]:
        """Raw vectors of whole width, or the error of an item, in order.

        Raises:
            BackendLost: there is no process, or it dies meanwhile.
            RuntimeError: the call failed as a whole.
        """
        number = next(self._numbers)
        reply = await self._ask(InferenceCall(number, kind, tuple(items), task))  # type: ignore[arg-type]
        assert isinstance(reply, InferenceReply)
        return results_of(kind, reply)

    async def is_alive(self, seconds: float) -> bool:
        """Whether it answers in time, and what it was asked too. A model that works does not keep it from answering."""
        return not self._is_overdue(self._patience.call_seconds) and await self._answers(seconds)

    async def stop(self) -> None:
        """End the process. Calls that are under way are lost: let them finish first."""
        for task in self._keepers:
            task.remove_done_callback(_end_with)
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        works = bool(self._calls) or self._missed_pings > 0  # it would not go by itself soon, or not at all
        self._lose("the worker was stopped")
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0 if works else STOP_SECONDS):  # its socket is closed, so it goes by itself
                    await self._process.wait()
            self.kill()
            await self._process.wait()
        if self._said is not None:
            await self._said.end()

    def kill(self) -> None:
        """End the process at once, whatever it does; from any thread."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _answers(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ask(Ping(next(self._numbers)))
        except (BackendLost, TimeoutError):
            return False
        return True

    def _is_overdue(self, seconds: float) -> bool:
        """Whether a call has waited longer than that."""
        return bool(self._calls) and time.monotonic() - min(self._calls.values()) > seconds

    async def _ask(self, message: InferenceCall | Ping) -> InferenceReply | Ping:
        if self._writer is None or not self._ready.is_set():
            raise BackendLost("the model is not there just now; it is being started")
        reply: asyncio.Future[InferenceReply | Ping] = asyncio.get_running_loop().create_future()
        self._asked[message.number] = reply
        if isinstance(message, InferenceCall):
            self._calls[message.number] = time.monotonic()
        try:
            self._writer.write(pack_message(message))
            await self._writer.drain()
            return await reply
        except OSError:
            raise BackendLost("the worker process died") from None
        finally:
            self._asked.pop(message.number, None)

    def _command(self, descriptor: int) -> list[str]:
        return [sys.executable, "-m", WORKER_MODULE, str(descriptor), *self._arguments]

    async def _spawn(self) -> None:
        self._said = None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                )
            assert self._process.stdout is not None
            self._said = WorkerOutput(self._process.stdout)
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        self._born = time.monotonic()
        self.starts += 1

    async def _keep(self) -> None:
        """Listen; when the process works no more, start another. Ends only when the first one never became ready."""
        pause = FIRST_PAUSE
        while True:
            born, why = time.monotonic(), "it ended"
            try:
                if self._process is None:
                    await self._spawn()
                await self._listen()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            except Exception as error:  # no descriptor, no memory, no message: whatever it is, another may do better
                why = f"{type(error).__name__}: {error}"
            was_ready = self._ready.is_set()
            code = await self._end()
            if not self.facts:
                return
            if not was_ready and self._said is not None:
                why = self._said.last or why
            pause = FIRST_PAUSE if time.monotonic() - born > YOUNG else min(2 * pause, LONGEST_PAUSE)
            fields = {"model": self.facts.get("model"), "why": why, "exit_status": code, "again_in_seconds": pause}
            LOGGER.error("worker_lost" if was_ready else "worker_not_started", extra={"fields": fields})
            await asyncio.sleep(pause)

    async def _end(self) -> int | None:
        """Nothing is left of the process; its exit status, negative the signal."""
        self._lose("the worker process died")
        process = self._process
        if process is None:
            return None
        self.kill()
        await process.wait()
        if self._said is not None:
            await self._said.end()
        self._process = None
        return process.returncode

    async def _watch(self) -> None:
        """Kill a process that does no more what it is there for."""
        overdue = 0
        while True:
            await asyncio.sleep(self._patience.ping_pause)
            if self._process is None:
                continue
            if self._ready.is_set():
                self._missed_pings = 0 if await self._answers(self._patience.ping_seconds) else self._missed_pings + 1
                overdue = overdue + 1 if self._is_overdue(2 * self._patience.call_seconds) else 0
                if self._missed_pings >= self._patience.pings:
                    self._kill_idle("it does not answer")
                elif overdue > 1:  # seen twice: a machine that slept has not heard yet what was answered
                    self._kill_idle("its model does not finish what it was asked")
            elif self.facts and not self._is_refused and time.monotonic() - self._born > self._most_to_start:
                self._kill_idle("its model does not become ready")

    @property
    def _most_to_start(self) -> float:
        return max(self._patience.start_seconds, 10 * self._first_start)

    def _kill_idle(self, why: str) -> None:
        """``_keep`` hears of it, and starts another."""
        LOGGER.error("worker_hangs", extra={"fields": {"model": self.facts.get("model"), "why": why}})
        self.kill()

    async def _listen(self) -> None:
        while True:
            message = await read_message(self._reader)
            if isinstance(message, Ready):
                self._welcome(message)
                continue
            self._calls.pop(message.number, None)
            if (waiting := self._asked.get(message.number)) is not None and not waiting.done():
                waiting.set_result(message)

    def _welcome(self, message: Ready) -> None:
        """The model is warm; it must be the one that answered before."""
        known, found = self.facts.get("fingerprint"), message.facts.get("fingerprint")
        if self.facts and known != found:
            LOGGER.error(
                "model_changed", extra={"fields": {"expected": known, "found": found, "do": "restart the server"}}
            )
            self._is_refused = True
            return  # not ready, and not started again: its process waits until the server is stopped
        self._first_start = self._first_start or time.monotonic() - self._born
        self.facts = message.facts
        if self._said is not None:
            self._said.tell(str(message.facts.get("model")))
        self._ready.set()

    def _lose(self, why: str) -> None:
        """There is no worker now: tell everybody who waits for it."""
        self._ready.clear()
        self._calls.clear()
        self._missed_pings = 0
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(BackendLost(why))


def _end_with(task: asyncio.Task[None]) -> None:
    """What looks after a model has ended, which it never should: then the server ends too, and is started anew."""
    if not task.cancelled():
        fields = {"why": repr(task.exception()), "means": "nobody looks after a model any more: the server ends"}
        LOGGER.critical("supervision_ended", extra={"fields": fields})
        os.kill(os.getpid(), signal.SIGTERM)
