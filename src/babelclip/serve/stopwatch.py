"""How long each stage of a request took, for headers, metrics and the log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Stage = Literal["fetch", "prepare", "model"]
"""Images read from elsewhere; headers read and tokens counted; queues and towers."""


class Stopwatch:
    """Seconds by stage, in the order in which they began."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Measures what happens inside, adding to what the stage has taken already."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def header(self) -> dict[str, str]:
        """As browsers and clients read it (W3C Server Timing): milliseconds."""
        stages = (f"{name};dur={1000 * seconds:.2f}" for name, seconds in self.seconds.items())
        return {"Server-Timing": ", ".join(stages)} if self.seconds else {}
