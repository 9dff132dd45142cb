"""What every runtime can do: run a prepared batch through a tower and say what it is.

A file of its own, because whoever runs a batch knows this protocol and no runtime.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from babelclip.arrays import ImageBatch, TextBatch, Vectors


class Runtime(Protocol):
    """Runs prepared batches. Vectors come back raw: full width, not normalized, float32."""

    def run_text(self, batch: TextBatch) -> Vectors:
        """(B, T) token ids -> (B, E)."""
        ...

    def run_images(self, batch: ImageBatch) -> Vectors:
        """(B, 3, S, S) pixels -> (B, E)."""
        ...

    def facts(self) -> dict[str, str | int]:
        """Runtime, device, dtype and threads as they really are."""
        ...


@runtime_checkable
class KeepsMemory(Protocol):
    """A runtime that keeps what its largest batch took, for the next one."""

    def free_memory(self) -> None:
        """Let go of what is not in use now; safe while others run."""
        ...
