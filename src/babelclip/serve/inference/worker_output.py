"""What a worker process prints: libraries, warnings, and why it could not start.

Before its model is ready only the last line is kept, as the reason should it end: a start that fails is tried again for
as long as the server runs, and each would print a traceback. Once it is ready each line is one of the log, the same one
once a minute (``repeated_lines``).
"""

from __future__ import annotations

import asyncio
import contextlib

from babelclip.serve.access_log import LOGGER

MAX_LINE = 500  # characters of a line that is kept
END_SECONDS = 1.0  # in which the rest is read of a process that has ended


class WorkerOutput:
    """Reads it until the process ends, so that a pipe that is full never holds it up."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        """Begin to read, in the running event loop."""
        self._stream = stream
        self._model: str | None = None  # None: not ready
        self._rest = b""
        self.last = ""
        """The last line that has a character."""
        self._reading = asyncio.create_task(self._read())

    def tell(self, model: str) -> None:
        """From here on lines go to the log, with the name of the model."""
        self._model = model

    async def end(self) -> None:
        """Read what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._reading

    async def _read(self) -> None:
        while content := await self._stream.read(4096):
            *lines, rest = (self._rest + content).split(b"\n")
            self._rest = rest[: 4 * MAX_LINE]
            for line in lines:
                self._take(line)
        self._take(self._rest)

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()[:MAX_LINE]
        if text:
            self.last = text
            if self._model is not None:
                LOGGER.warning("worker_says", extra={"fields": {"model": self._model, "kind": text}})
