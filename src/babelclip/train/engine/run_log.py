"""What a run writes down while it goes on: ``log.jsonl``, perhaps TensorBoard's event files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from babelclip.atomic_write import write_bytes
from babelclip.optional_dependency import needed_for
from babelclip.train.engine.distributed import ONE_PROCESS, ProcessGroupInfo


class RunLog:
    """One JSON object per line, appended by the first process; a resumed run goes on in the same file.

    Args:
        path: The file.
        group: The processes.
        tensorboard: Event files too, in a folder of this name beside the log.

    Raises:
        RuntimeUnavailable: TensorBoard is asked for and not installed.
    """

    def __init__(self, path: Path, group: ProcessGroupInfo = ONE_PROCESS, *, tensorboard: bool = False) -> None:
        self._path = path if group.is_first else None
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._path is not None:
            _cut_half_line(self._path)
        self._board = TensorBoard(path.parent / "tensorboard") if tensorboard and group.is_first else None

    def write(self, stage: str, step: int, figures: Mapping[str, Tensor | float]) -> None:
        """Figures of one step of a stage."""
        if self._path is None:
            return
        numbers = {name: float(value) for name, value in figures.items()}
        if self._board is not None:
            self._board.write(stage, step, numbers)
        rounded = {name: round(value, 5) for name, value in numbers.items()}
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "stage": stage, "step": step, **rounded}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _cut_half_line(path: Path) -> None:
    """A kill in the middle of a line leaves a part of it, which would spoil the next one."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rpartition(b"\n")[0] + b"\n" if b"\n" in content else b""
    if len(whole) < len(content):
        write_bytes(path, whole)


class TensorBoard:
    """Writes event files: ``tensorboard --logdir FOLDER`` shows them, also while the run goes on.

    Raises:
        RuntimeUnavailable: The package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        with needed_for("--tensorboard", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._writer = SummaryWriter(str(folder))

    def write(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """One point more on the curve of each figure of a stage."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)
        self._writer.flush()
