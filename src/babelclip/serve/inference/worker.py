"""The front's hold on a worker process: it asks, it listens, and it starts another when that one dies.

Whatever was asked of a worker that dies is answered with ``BackendLost`` at once, and is not asked again by itself: an
item that kills a worker would kill the next one too. Another is started right away, and after a second death soon
after the first a little later each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import sys
import time
from collections.abc import Sequence

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
from babelclip.serve.pricing import ItemContent

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds before another is started, doubling while they die young
YOUNG = 60.0  # seconds
STOP_SECONDS = 5.0
WORKER_MODULE = "babelclip.serve.inference.worker_process"


class Worker:
    """One model in a process of its own. All of it runs in one event loop."""

    def __init__(self, model: str, options: Sequence[str] = ()) -> None:
        """Nothing runs before ``start``.

        Args:
            model: a folder or a name that ``babelclip.load`` takes.
            options: of ``worker_process``.
        """
        self._arguments = [model, *options]
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[InferenceReply | Ping]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.facts: dict[str, str | int | None] = {}
        self.starts = 0

    async def start(self) -> None:
        """Start the process and return when its model is warm.

        Raises:
            BackendLost: it ended before that, as it does when the model cannot be opened: stderr has said why.
        """
        await self._spawn()
        first = asyncio.create_task(self._ready.wait())
        self._keeper = asyncio.create_task(self._keep())
        await asyncio.wait({first, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            first.cancel()
            raise BackendLost("the worker process ended before its model was ready")

    @property
    def is_ready(self) -> bool:
        """Whether there is a process with a warm model now."""
        return self._ready.is_set()

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
        """Whether it answers in time. A model that works does not keep it from answering."""
        try:
            async with asyncio.timeout(seconds):
                await self._ask(Ping(next(self._numbers)))
        except (BackendLost, TimeoutError):
            return False
        return True

    async def stop(self) -> None:
        """End the process. Calls that are under way are lost: let them finish first."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._lose("the worker was stopped")
        if self._process is not None and self._process.returncode is None:
            try:
                async with asyncio.timeout(STOP_SECONDS):  # its socket is closed, so it goes by itself
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _ask(self, message: InferenceCall | Ping) -> InferenceReply | Ping:
        if self._writer is None or not self.is_ready:
            raise BackendLost("the model is not there just now; it is being started")
        reply: asyncio.Future[InferenceReply | Ping] = asyncio.get_running_loop().create_future()
        self._asked[message.number] = reply
        try:
            self._writer.write(pack_message(message))
            await self._writer.drain()
            return await reply
        except OSError:
            raise BackendLost("the worker process died") from None
        finally:
            self._asked.pop(message.number, None)

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    WORKER_MODULE,
                    str(theirs.fileno()),
                    *self._arguments,
                ),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr,
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self.starts += 1

    async def _keep(self) -> None:
        """Listen; when the process has died, start another. Ends only when the first one never became ready."""
        pause = FIRST_PAUSE
        while True:
            born = time.monotonic()
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await self._listen()
            was_ready = self.is_ready
            self._lose("the worker process died")
            assert self._process is not None
            await self._process.wait()
            if not was_ready and self.starts == 1:
                return
            pause = FIRST_PAUSE if time.monotonic() - born > YOUNG else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            await self._spawn()

    async def _listen(self) -> None:
        while True:
            message = await read_message(self._reader)
            if isinstance(message, Ready):
                self._welcome(message)
            elif (waiting := self._asked.get(message.number)) is not None and not waiting.done():
                waiting.set_result(message)

    def _welcome(self, message: Ready) -> None:
        """The model is warm; it must be the one that answered before."""
        known, found = self.facts.get("fingerprint"), message.facts.get("fingerprint")
        if self.facts and known != found:
            LOGGER.error(
                "model_changed", extra={"fields": {"expected": known, "found": found, "do": "restart the server"}}
            )
            return  # not ready, and not started again: its process waits until the server is stopped
        self.facts = message.facts
        self._ready.set()

    def _lose(self, why: str) -> None:
        """There is no worker now: tell everybody who waits for it."""
        self._ready.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(BackendLost(why))
