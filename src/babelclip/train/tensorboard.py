"""The log of a run as TensorBoard reads it: one curve for each figure of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from babelclip.optional_dependency import needed_for


class TensorBoard:
    """Writes event files into a folder: ``tensorboard --logdir FOLDER`` shows them, also while the run goes on.

    Raises:
        RuntimeUnavailable: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        with needed_for("--tensorboard", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._writer = SummaryWriter(str(folder))

    def write(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Figures of one step."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)
        self._writer.flush()
