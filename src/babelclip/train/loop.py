"""The loop that all stages share: budget, learning rate, log, checkpoints, a bar; on one process or on many."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.train.batch import Batch, Part
from babelclip.train.optim import Average, OptimSettings, clip_gradients, learning_rate, parameter_groups
from babelclip.train.resume import Counters, has_state, load_state, save_state
from babelclip.train.spread import Ranks, Spread, agree, spread
from babelclip.train.step import Forward, backward
from babelclip.train.tensorboard import TensorBoard


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


class Stage(Protocol):
    """What the loop needs of a stage."""

    name: str
    rates: Mapping[str, float]  # parameters' names begin with -> share of the learning rate; all others have the whole

    @property
    def module(self) -> nn.Module:
        """What encodes, and is trained."""
        ...

    @property
    def head(self) -> nn.Module:
        """What only the loss uses, and is trained: temperatures and the like. Small: every rank holds all of it."""
        ...

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Batch ``step``, a function of the step alone, with this rank's share of its rows."""
        ...

    def encode(self, part: Part) -> Tensor:
        """Rows -> (B, E), with the gradient."""
        ...

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss of the whole batch, given all ranks' vectors of each part; and figures for the log."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Figures on held-out data."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How a stage is run, whatever it learns: none of this changes what a step computes."""

    piece: int | None = None  # rows of each part per forward pass (gradient caching); None: all at once
    spread: Spread = "replicate"
    ranks: Ranks = field(default_factory=Ranks)
    checkpoint_seconds: float = 180.0
    evaluate_seconds: float = 300.0


class RunLog:
    """One JSON object per line, appended; a resumed run goes on in the same file. Perhaps for TensorBoard as well."""

    def __init__(self, path: Path, ranks: Ranks | None = None, *, tensorboard: bool = False) -> None:
        """tensorboard: event files too, in a folder of this name beside the log."""
        is_first = (ranks or Ranks()).rank == 0
        self._path = path if is_first else None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._board = TensorBoard(path.parent / "tensorboard") if tensorboard and is_first else None

    def write(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        if self._path is None:
            return
        if self._board is not None:
            self._board.write(stage, step, figures)
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "stage": stage, "step": step, **figures}
        with self._path.open("a") as file:
            file.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}) + "\n")


def run_stage(
    stage: Stage,
    budget: Budget,
    settings: OptimSettings,
    folder: Path,
    log: RunLog,
    *,
    resume: bool,
    engine: Engine | None = None,
) -> None:
    """Train a stage to the end of its budget, from its last state when ``resume``; a finished stage is not run again.

    State is written at intervals, at the end, and at Ctrl-C, which ends the step that is running first.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with everything saved.
    """
    engine = engine or Engine()
    run = _Run(stage, settings, engine, folder)
    if resume and has_state(folder, stage.name):
        run.load()
    before = run.counters.step
    last_checkpoint = last_evaluation = last_log = time.monotonic()
    with _bar(engine.ranks) as bar, _interruption() as interrupted:
        task = bar.add_task(stage.name, total=1.0, shown="")
        while (progress := budget.progress(run.counters.step, run.counters.seconds)) < 1.0:
            loss, figures = run.step(learning_rate(settings, progress))
            step, now = run.counters.step, time.monotonic()
            used = budget.progress(step, run.counters.seconds)
            bar.update(task, completed=used, shown=f"step {step}  loss {loss:.4f}")
            if now - last_log > 5 or step == 1:
                log.write(stage.name, step, {"loss": loss, "seconds": run.counters.seconds, **figures})
                last_log = now
            stopping = agree(float(interrupted.is_set), engine.ranks) > 0
            if stopping or agree(now - last_checkpoint, engine.ranks) > engine.checkpoint_seconds:
                run.save()
                last_checkpoint = now
            if stopping:
                raise KeyboardInterrupt
            if agree(now - last_evaluation, engine.ranks) > engine.evaluate_seconds:
                log.write(stage.name, step, run.evaluate())
                last_evaluation = time.monotonic()
    is_new = run.counters.step > before  # a stage that was finished already is on disk and in the log
    if is_new:
        run.save()
    if run.average is not None:
        run.average.swap()
    if is_new:
        log.write(stage.name, run.counters.step, stage.evaluate())


class _Run:
    """A stage under way."""

    def __init__(self, stage: Stage, settings: OptimSettings, engine: Engine, folder: Path) -> None:
        self._stage, self._settings, self._engine, self._folder = stage, settings, engine, folder
        self._forward = spread(Forward(stage.module, stage), engine.spread, engine.ranks)
        self._all = nn.ModuleDict({"towers": self._forward, "loss": stage.head})
        named = [*stage.module.named_parameters(), *stage.head.named_parameters()]
        self._parameters = [parameter for _, parameter in named if parameter.requires_grad]
        groups = parameter_groups(named, settings.weight_decay, stage.rates)
        self._optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
        self.average = Average(named, settings.average) if settings.average else None
        self.counters = Counters()

    def step(self, rate: float) -> tuple[float, dict[str, float]]:
        """One step; loss and figures."""
        started = time.monotonic()
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["share"]
        engine = self._engine
        batch = self._stage.draw(self.counters.step, engine.ranks)
        self._optimiser.zero_grad(set_to_none=True)
        loss, figures = backward(self._forward, self._stage, batch, engine.ranks, engine.piece)
        norm = clip_gradients(self._parameters, self._settings.clip)
        self._optimiser.step()
        self.counters.step += 1
        if self.average is not None:
            self.average.update(self.counters.step)
        self.counters.seconds = agree(self.counters.seconds + time.monotonic() - started, engine.ranks)
        return float(loss), {"rate": rate, "gradient": float(norm), **figures}

    def evaluate(self) -> dict[str, float]:
        with nullcontext() if self.average is None else self.average.in_place():
            return self._stage.evaluate()

    def save(self) -> None:
        save_state(self._folder, self._stage.name, self._all, self._optimiser, self.average, self.counters)

    def load(self) -> None:
        self.counters = load_state(self._folder, self._stage.name, self._all, self._optimiser, self.average)


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


def _bar(ranks: Ranks) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)  # stdout is for results
    return Progress(*columns, TextColumn("{task.fields[shown]}"), console=console, disable=ranks.rank > 0)
