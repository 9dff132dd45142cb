"""The whole state of a stage on disk, by PyTorch's distributed checkpoint: any number of processes can go on with it.

``<folder>/<stage>/step-<n>/`` holds parameters, optimiser, average and counters; ``<folder>/<stage>/latest`` names the
newest whole one. A kill at any moment leaves the old or the new state whole.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from babelclip.train.optim import Average

LATEST = "latest"


@dataclass(slots=True)
class Counters:
    """How far a stage has come: steps taken, seconds spent, interruptions not counted."""

    step: int = 0
    seconds: float = 0.0


def has_state(folder: Path, stage: str) -> bool:
    """Whether a stage has begun and left its state."""
    return (folder / stage / LATEST).is_file()


def save_state(
    folder: Path,
    stage: str,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average | None,
    counters: Counters,
) -> None:
    """Write the state; on several ranks all of them call this together."""
    home = folder / stage
    place = home / f"step-{counters.step:08d}"
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    if is_first:
        shutil.rmtree(place, ignore_errors=True)  # left by a kill in the middle of writing
        home.mkdir(parents=True, exist_ok=True)
    _together()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that a single process saves alone
        save(_state(module, optimiser, average, counters), checkpoint_id=place, no_dist=not dist.is_initialized())
    _together()
    if is_first:
        unfinished = home / f"{LATEST}.unfinished"
        unfinished.write_text(place.name)
        os.replace(unfinished, home / LATEST)
        for older in home.glob("step-*"):
            if older != place:
                shutil.rmtree(older)


def load_state(
    folder: Path, stage: str, module: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None
) -> Counters:
    """Read the newest state into module, optimiser and average; returns how far it had come."""
    home = folder / stage
    state = _state(module, optimiser, average, Counters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load(state, checkpoint_id=home / (home / LATEST).read_text(), no_dist=not dist.is_initialized())
    set_state_dict(module, optimiser, model_state_dict=state["module"], optim_state_dict=state["optimiser"])
    if average is not None:
        average.kept = dict(state["average"])
    return Counters(int(state["step"]), float(state["seconds"]))


def _state(
    module: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, counters: Counters
) -> dict[str, Any]:
    parameters, moments = get_state_dict(module, optimiser)
    return {
        "module": parameters,
        "optimiser": moments,
        "average": {} if average is None else average.kept,
        "step": torch.tensor(counters.step),
        "seconds": torch.tensor(counters.seconds, dtype=torch.float64),
    }


def _together() -> None:
    if dist.is_initialized():
        dist.barrier()
