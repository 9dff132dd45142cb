"""What the processes of ``test_engine.py`` do: in a module of its own, because a started process imports it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from pair_stage import LOSSES, PairStage
from torch import Tensor
from torch.distributed.tensor import DTensor

from babelclip.train.batch import Batch
from babelclip.train.loop import Budget, Engine, RunLog, run_stage
from babelclip.train.optim import OptimSettings
from babelclip.train.spread import Ranks, Spread, open_ranks, spread
from babelclip.train.step import Forward, backward

Gradients = dict[str, Tensor]
MODES: dict[str, tuple[Spread, int | None]] = {
    "replicated": ("replicate", None),
    "replicated, cached": ("replicate", 3),
    "sharded": ("shard", None),
    "sharded, cached": ("shard", 3),
}


def gradients(stage: PairStage, ranks: Ranks, how: Spread, piece: int | None) -> tuple[float, Gradients]:
    """Loss and gradients of step 3, whole on every rank."""
    blocks = [*stage.module.text.blocks, *stage.module.vision.blocks] if stage.module.vision is not None else []
    forward = spread(Forward(stage.module, stage), how, ranks, blocks)
    loss, _ = backward(forward, stage, stage.draw(3, ranks), ranks, piece)
    found: Gradients = {}
    for name, parameter in [*stage.module.named_parameters(), *stage.head.named_parameters()]:
        assert parameter.grad is not None, name
        gradient = parameter.grad
        found[name] = (gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).clone()
    return float(loss), found


def join(rank: int, size: int, folder: str, task: Callable[[Ranks, Path], None]) -> None:
    """One of several processes, as torchrun would start it."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = Path(folder, "port").read_text()
    with open_ranks() as ranks:
        task(ranks, Path(folder))


def on_two(folder: Path, task: Callable[[Ranks, Path], None]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(probe.getsockname()[1]))
    mp.spawn(join, (2, str(folder), task), nprocs=2)


def write_all_gradients(ranks: Ranks, folder: Path) -> None:
    found = {
        (loss, mode): gradients(PairStage(loss), ranks, *settings)
        for loss in LOSSES
        for mode, settings in MODES.items()
    }
    torch.save(found, folder / f"rank-{ranks.rank}.pt")


SETTINGS = OptimSettings(learning_rate=1e-2, average=0.9)


def train(stage: PairStage, folder: Path, steps: int, *, resume: bool, engine: Engine) -> None:
    log = RunLog(folder / "log.jsonl", engine.ranks)
    run_stage(stage, Budget(steps=steps), SETTINGS, folder, log, resume=resume, engine=engine)


class Cut(PairStage):
    """Power fails at step 5."""

    def draw(self, step: int, ranks: Ranks) -> Batch:
        if step == 5:
            raise RuntimeError("power cut")
        return super().draw(step, ranks)


def train_half(ranks: Ranks, folder: Path) -> None:
    for how in ("replicate", "shard"):
        place = folder / how
        place.mkdir(exist_ok=True)
        engine = Engine(ranks=ranks, spread=how, checkpoint_seconds=0.0)
        with pytest.raises(RuntimeError, match="power cut"):
            train(Cut("info_nce mean"), place, 9, resume=False, engine=engine)
