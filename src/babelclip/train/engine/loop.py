"""The loop that every stage goes through: budget, learning rate, log, checkpoints, progress; on one process or many."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.progress import show_progress
from babelclip.train.engine.batch import Batch, TowerInput
from babelclip.train.engine.distributed import (
    ONE_PROCESS,
    ProcessGroupInfo,
    Strategy,
    broadcast_scalar,
    distribute,
    gathered,
)
from babelclip.train.engine.optimizer import (
    Average,
    OptimizerSettings,
    clip_gradients,
    learning_rate,
    parameter_groups,
)
from babelclip.train.engine.run_log import RunLog
from babelclip.train.engine.step import Figures, Forward, backward
from babelclip.train.engine.training_state import Counters, TrainingState, has_state


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a stage runs: a number of steps, or minutes of wall-clock (kept over interruptions)."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ConfigError("a stage's budget is either steps or minutes, exactly one of them")

    def progress(self, step: int, seconds: float) -> float:
        """How much of the budget is used, 0 to 1."""
        used = step / self.steps if self.steps is not None else seconds / 60 / (self.minutes or 1.0)
        return min(used, 1.0)


class Trainable(Protocol):
    """What the loop needs of a stage."""

    name: str
    rates: Mapping[str, float]  # parameters' names begin with -> share of the learning rate; all others have the whole

    @property
    def module(self) -> nn.Module:
        """What encodes, and is trained."""
        ...

    @property
    def head(self) -> nn.Module:
        """What only the losses use, and is trained: temperatures and the like. Small: every process has all of it."""
        ...

    def draw(self, step: int, group: ProcessGroupInfo) -> Batch:
        """Batch ``step``, a function of the step alone, with this process's share of its rows."""
        ...

    def encode(self, rows: TowerInput) -> Tensor:
        """Rows -> (B, E), with the gradient."""
        ...

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Figures]:
        """Loss of the whole batch, given all processes' vectors of each input; and figures for the log."""
        ...

    def evaluate(self) -> Figures:
        """Figures on held-out data."""
        ...

    def shards(self) -> Sequence[nn.Module]:
        """Parts of the module that are sharded one by one."""
        ...

    def whole(self) -> Sequence[nn.Parameter]:
        """Frozen parameters that also compute outside the forward pass, so that no process may have a part only."""
        ...

    @property
    def uses_all(self) -> bool:
        """Whether every step reaches every trained parameter of the module."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How a stage is run, whatever it learns: none of this changes what a step computes."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    piece: int | None = None  # rows of each input per forward pass (gradient caching); None: all at once
    strategy: Strategy = "replicate"
    group: ProcessGroupInfo = ONE_PROCESS
    checkpoint_seconds: float = 180.0
    evaluate_seconds: float = 300.0


def run_stage(
    stage: Trainable,
    budget: Budget,
    settings: OptimizerSettings,
    folder: Path,
    log: RunLog,
    *,
    resume: bool,
    engine: Engine | None = None,
) -> Counters:
    """Train a stage to the end of its budget, from its last state when ``resume``; a finished stage is not run again.

    State is written at intervals, at the end, and at Ctrl-C, which ends the step that is running first. Returns how far
    the stage has come.

    Raises:
        KeyboardInterrupt: After Ctrl-C, with everything saved.
        ConfigError: The state to go on from is of a stage with other parameters.
    """
    engine = engine or Engine()
    run = StageRun(stage, settings, engine)
    counters, group, device = run.state.counters, engine.group, engine.device
    if resume and has_state(folder, stage.name):
        run.state.load(folder, stage.name)
    before = counters.step
    last_checkpoint = last_evaluation = last_log = time.monotonic()
    last_told = 0.0
    with show_progress(stage.name, 1.0, show=group.is_first) as meter, _interruption() as interrupted:
        while (used := budget.progress(counters.step, counters.seconds)) < 1.0:
            loss, figures = run.step(learning_rate(settings, used))
            now = time.monotonic()
            if now - last_told > 0.5:  # reading the loss waits for a GPU
                used = budget.progress(counters.step, counters.seconds)
                meter.update(used, note=f"step {counters.step:,}, loss {float(loss):.4f}")
                last_told = now
            if now - last_log > 5 or counters.step == 1:
                log.write(stage.name, counters.step, {"loss": loss, "seconds": counters.seconds, **figures})
                last_log = now
            stopping = broadcast_scalar(float(interrupted.is_set), group, device) > 0
            if stopping or broadcast_scalar(now - last_checkpoint, group, device) > engine.checkpoint_seconds:
                run.state.save(folder, stage.name)
                last_checkpoint = now
            if stopping:
                raise KeyboardInterrupt
            if broadcast_scalar(now - last_evaluation, group, device) > engine.evaluate_seconds:
                log.write(stage.name, counters.step, run.evaluate())
                last_evaluation = time.monotonic()
    is_new = counters.step > before  # a stage that was finished already is on disk and in the log
    if is_new:
        run.state.save(folder, stage.name)
    if run.state.average is not None:
        run.state.average.swap()
    if is_new:
        log.write(stage.name, counters.step, run.evaluate_as_it_is())
    return counters


class StageRun:
    """A stage under way.

    Args:
        stage: Its module and head are moved to the engine's device.
        settings: Of the optimizer.
        engine: How it is run.
    """

    def __init__(self, stage: Trainable, settings: OptimizerSettings, engine: Engine) -> None:
        self._stage, self._settings, self._engine = stage, settings, engine
        stage.module.to(engine.device)
        stage.head.to(engine.device)
        self.forward = distribute(
            Forward(stage.module, stage),
            engine.strategy,
            engine.group,
            shards=stage.shards(),
            whole=stage.whole(),
            uses_all=stage.uses_all,
        )
        everything = nn.ModuleDict({"towers": self.forward, "loss": stage.head})
        named = [*stage.module.named_parameters(), *stage.head.named_parameters()]
        self._parameters = [parameter for _, parameter in named if parameter.requires_grad]
        groups = parameter_groups(named, settings.weight_decay, stage.rates)
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
        average = Average(named, settings.average) if settings.average else None
        self.state = TrainingState(everything, optimizer, average, Counters())

    def step(self, rate: float) -> tuple[Tensor, dict[str, Tensor | float]]:
        """One step; loss and figures."""
        started = time.monotonic()
        optimizer, counters, engine = self.state.optimizer, self.state.counters, self._engine
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        batch = self._stage.draw(counters.step, engine.group).to(engine.device)
        optimizer.zero_grad(set_to_none=True)
        loss, figures = backward(self.forward, self._stage, batch, engine.group, engine.piece)
        norm = clip_gradients(self._parameters, self._settings.clip)
        optimizer.step()
        counters.step += 1
        if self.state.average is not None:
            self.state.average.update(counters.step)
        spent = counters.seconds + time.monotonic() - started
        counters.seconds = broadcast_scalar(spent, engine.group, engine.device)
        return loss, {"rate": rate, "gradient": norm, **figures}

    def evaluate(self) -> Figures:
        """The stage's own figures, with the averaged parameters where there are some."""
        average = self.state.average
        with nullcontext() if average is None else average.in_place():
            return self.evaluate_as_it_is()

    def evaluate_as_it_is(self) -> Figures:
        """The same with the parameters that stand there."""
        with gathered(self.forward):
            return self._stage.evaluate()


@dataclass(slots=True)
class _Interruption:
    is_set: bool = False


@contextmanager
def _interruption() -> Iterator[_Interruption]:
    """Ctrl-C sets a flag for the loop; a second one ends the process at once. Only in a program's main thread."""
    flag = _Interruption()

    def remember(number: int, frame: object) -> None:
        flag.is_set = True
        signal.signal(signal.SIGINT, before)

    try:
        before = signal.signal(signal.SIGINT, remember)
    except ValueError:  # another thread: whoever called us handles its own signals
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
