"""What the processes of ``test_engine.py`` do: in a module of its own, because a started process imports it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed import TCPStore
from torch.distributed.tensor import DTensor
from training_stages import STAGES, tiny_stage

from babelclip.train.engine.batch import Batch
from babelclip.train.engine.distributed import ProcessGroupInfo, Strategy, open_process_group
from babelclip.train.engine.loop import Budget, Engine, StageRun, run_stage
from babelclip.train.engine.optimizer import OptimizerSettings
from babelclip.train.engine.run_log import RunLog
from babelclip.train.engine.step import backward
from babelclip.train.stage import Stage

CPU = torch.device("cpu")
STEP = 6  # one in which every objective is asked
Gradients = dict[str, Tensor]
MODES: dict[str, tuple[Strategy, int | None]] = {
    "replicated": ("replicate", None),
    "replicated, cached": ("replicate", 3),
    "sharded": ("shard", None),
    "sharded, cached": ("shard", 3),
}
SETTINGS = OptimizerSettings(learning_rate=1e-2, average=0.9)


def gradients(
    stage: Stage, group: ProcessGroupInfo, strategy: Strategy, piece: int | None, step: int = STEP
) -> tuple[float, Gradients]:
    """Loss and gradients of a step, whole in every process."""
    run = StageRun(stage, SETTINGS, Engine(group=group, strategy=strategy, piece=piece))
    loss, _ = backward(run.forward, stage, stage.draw(step, group).to(CPU), group, piece)
    found: Gradients = {}
    for name, parameter in [*stage.module.named_parameters(), *stage.head.named_parameters()]:
        if parameter.grad is not None:
            gradient = parameter.grad
            found[name] = (gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).clone()
    return float(loss), found


def join(rank: int, size: int, folder: str, task: Callable[[ProcessGroupInfo, Path], None]) -> None:
    """One of several processes, as torchrun would start it."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ |= {"MASTER_PORT": Path(folder, "port").read_text(), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    with open_process_group(CPU) as group:
        task(group, Path(folder))


def on_two(folder: Path, task: Callable[[ProcessGroupInfo, Path], None]) -> None:
    """Run a task in two processes, which meet at a port of this one's: no other test can take it in between."""
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    (folder / "port").write_text(str(meeting.port))
    mp.spawn(join, (2, str(folder), task), nprocs=2)


def write_all_gradients(group: ProcessGroupInfo, folder: Path) -> None:
    found = {
        (name, mode): gradients(tiny_stage(name, folder / "data", group=group), group, *how)
        for name in STAGES
        for mode, how in MODES.items()
    }
    torch.save(found, folder / f"rank-{group.rank}.pt")


def train(stage: Stage, folder: Path, steps: int, *, resume: bool, engine: Engine) -> None:
    log = RunLog(folder / "log.jsonl", engine.group)
    run_stage(stage, Budget(steps=steps), SETTINGS, folder, log, resume=resume, engine=engine)


def cut_at(stage: Stage, step: int) -> Stage:
    """The same, but that power fails at a step."""
    draw = stage.draw

    def fail(at: int, group: ProcessGroupInfo) -> Batch:
        if at == step:
            raise RuntimeError("power cut")
        return draw(at, group)

    stage.draw = fail  # type: ignore[method-assign]
    return stage


def train_half(group: ProcessGroupInfo, folder: Path) -> None:
    for strategy in ("replicate", "shard"):
        place = folder / strategy
        place.mkdir(exist_ok=True)
        engine = Engine(group=group, strategy=strategy, checkpoint_seconds=0.0)
        with pytest.raises(RuntimeError, match="power cut"):
            train(cut_at(tiny_stage(MANY, folder / "data", group=group), 5), place, 9, resume=False, engine=engine)


MANY = "many, not all in every step"


def train_with_skipped_tower(group: ProcessGroupInfo, folder: Path) -> None:
    """Steps 1 and 3 ask nothing of the image tower, and yet it learns."""
    stage = tiny_stage("a tower rests", folder / "data", group=group)
    train(stage, folder / f"rests-{group.rank}", 4, resume=False, engine=Engine(group=group))
    torch.save(stage.module.state_dict(), folder / f"rests-{group.rank}.pt")
