"""The whole state of a stage on disk, by PyTorch's distributed checkpoint: any number of processes can go on with it.

``<folder>/<stage>/step-<n>/`` holds parameters, optimizer, average and counters; ``<folder>/<stage>/latest`` names the
newest whole one. A kill at any moment leaves the old or the new state whole.
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from babelclip.atomic_write import write_text
from babelclip.errors import ConfigError
from babelclip.train.engine.distributed import current_process_group, wait
from babelclip.train.engine.optimizer import Average

LATEST = "latest"


@dataclass(slots=True)
class Counters:
    """How far a stage has come: steps taken, seconds spent, interruptions not counted."""

    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a stage's state is made of; counters are changed in place."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    counters: Counters

    def save(self, folder: Path, stage: str) -> None:
        """Write it; of several processes all call this together."""
        home = folder / stage
        path = home / f"step-{self.counters.step:08d}"
        group = current_process_group()
        if group.is_first:
            shutil.rmtree(path, ignore_errors=True)  # left by a kill in the middle of writing
            home.mkdir(parents=True, exist_ok=True)
        wait(group)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says that a single process saves alone
            save(self._tensors(), checkpoint_id=path, no_dist=not dist.is_initialized())
        wait(group)
        if group.is_first:
            write_text(home / LATEST, path.name)
            for older in home.glob("step-*"):
                if older != path:
                    shutil.rmtree(older)

    def load(self, folder: Path, stage: str) -> None:
        """Read the newest one into module, optimizer, average and counters.

        Raises:
            ConfigError: It was left by a stage with other parameters.
        """
        home = folder / stage
        state = self._tensors()
        path = home / (home / LATEST).read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(state, checkpoint_id=path, no_dist=not dist.is_initialized())
            except (RuntimeError, ValueError, KeyError, CheckpointException) as error:
                reason = str(error).strip().splitlines()[-1]
                raise ConfigError(
                    f"{path} is the state of a stage {stage!r} with other parameters than the recipe's ({reason}). Go "
                    "on with the recipe that it began with, or give another --out"
                ) from error
        options = {"model_state_dict": state["module"], "optim_state_dict": state["optimizer"]}
        set_state_dict(self.module, self.optimizer, **options)
        if self.average is not None:
            self.average.kept = dict(state["average"])
        self.counters.step, self.counters.seconds = int(state["step"]), float(state["seconds"])

    def _tensors(self) -> dict[str, Any]:
        parameters, moments = get_state_dict(self.module, self.optimizer)
        return {
            "module": parameters,
            "optimizer": moments,
            "average": {} if self.average is None else self.average.kept,
            "step": torch.tensor(self.counters.step),
            "seconds": torch.tensor(self.counters.seconds, dtype=torch.float64),
        }


def has_state(folder: Path, stage: str) -> bool:
    """Whether a stage has begun and left its state."""
    return (folder / stage / LATEST).is_file()
