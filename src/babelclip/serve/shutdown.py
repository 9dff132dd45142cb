"""How a server ends: within a stated time of SIGTERM, whatever its clients and its workers do.

======================  ==============================================================================
from SIGTERM            what happens
======================  ==============================================================================
at once                 no connection is taken any more, idle ones are closed
until `FINISH`          what was accepted is finished
then                    who is still sent an answer is cut off; who waits for one gets 503 and `Retry-After`
a third of the rest     connections that are still there are cut off, and the worker processes end
at the end of the time  the process ends, should anything of this have failed
======================  ==============================================================================

`FINISH` is the whole time less ``LAST_SECONDS``, and at least half of it. A second signal does without the waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from babelclip.serve.access_log import LOGGER
from babelclip.serve.inference.worker import Worker

LAST_SECONDS = 3.0
_UNFINISHED = 1
"""Exit status of a process that had to be ended by its timer."""


class StoppableServer(uvicorn.Server):
    """Ends within a time after the first signal, which ``answer`` tells it: uvicorn would raise it again at its end."""

    def __init__(self, config: uvicorn.Config, workers: Sequence[Worker], seconds: float) -> None:
        """Nothing runs before ``serve``.

        Args:
            workers: whose processes must not outlive this one.
            seconds: from the first signal to the end of the process.
        """
        super().__init__(config)
        self._workers, self._seconds = workers, seconds
        self._last = min(LAST_SECONDS, seconds / 2)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but they are left alone."""
        yield

    def stop(self) -> None:
        """Begin to end; asked twice, do not finish."""
        if self.should_exit:
            self._refuse_rest()
            return
        self.should_exit = True
        asyncio.get_running_loop().call_later(self._seconds - self._last, self._refuse_rest)
        timer = threading.Timer(self._seconds, self._end_now)
        timer.daemon = True
        timer.start()

    def _refuse_rest(self) -> None:
        """Nobody waits longer: an answer that is being read slowly is cut off, the others say 503."""
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "answering", None)
            if cycle is not None and cycle.response_started:
                connection.transport.abort()
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, self._cancel_rest)  # those that were cut off have ended by then
        loop.call_later(self._last / 3, self._cut_off_all)

    def _cancel_rest(self) -> None:
        for task in list(self.server_state.tasks):
            task.cancel()  # request_limits makes an answer of it

    def _cut_off_all(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _end_now(self) -> None:
        """In a thread: the event loop may be what does not end."""
        for worker in self._workers:
            worker.kill()
        LOGGER.error("ended_unfinished", extra={"fields": {"seconds": self._seconds}})
        os._exit(_UNFINISHED)


async def answer(server: StoppableServer, listener: socket.socket, on_ready: Callable[[], object]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        server: what serves.
        listener: where.
        on_ready: called when it can answer.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if not serving.done():
        on_ready()
    await serving
