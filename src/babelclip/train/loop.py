"""The loop that both stages share: budget, learning rate, log, checkpoints, a bar."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from babelclip.errors import ConfigError


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


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimSettings:
    """AdamW (Loshchilov & Hutter 2019) with a linear warm-up and a cosine decay to zero."""

    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.03  # share of the budget
    clip: float = 1.0  # norm of the gradient


class Stage(Protocol):
    """What the loop needs of a stage. ``module`` holds everything that is trained."""

    name: str
    rates: Mapping[str, float]  # parameters' names begin with -> share of the learning rate; all others have the whole

    @property
    def module(self) -> nn.Module: ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of batch ``step`` (a function of the step alone) and figures for the log."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Figures on held-out data."""
        ...


def learning_rate(settings: OptimSettings, progress: float) -> float:
    """Rate at a share of the budget."""
    if progress < settings.warmup:
        return settings.learning_rate * max(progress, 1e-3) / settings.warmup
    decayed = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + float(torch.cos(torch.tensor(decayed * torch.pi))))


class RunLog:
    """One JSON object per line, appended; a resumed run goes on in the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "stage": stage, "step": step, **figures}
        with self._path.open("a") as file:
            file.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}) + "\n")


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(dict(state), unfinished)
    os.replace(unfinished, path)


def parameter_groups(module: nn.Module, weight_decay: float, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and single vectors do not. ``share``: of the learning rate (``Stage.rates``)."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            share = next((rate for prefix, rate in rates.items() if name.startswith(prefix)), 1.0)
            groups.setdefault((parameter.dim() >= 2, share), []).append(parameter)
    return [
        {"params": members, "weight_decay": weight_decay if decays else 0.0, "share": share}
        for (decays, share), members in groups.items()
    ]


def run_stage(
    stage: Stage,
    budget: Budget,
    settings: OptimSettings,
    folder: Path,
    log: RunLog,
    *,
    resume: bool,
    checkpoint_seconds: float = 180.0,
    evaluate_seconds: float = 300.0,
) -> None:
    """Train a stage to the end of its budget, from its last checkpoint when ``resume``.

    The checkpoint ``<folder>/<stage>.pt`` is written at intervals and at the end; a finished stage is not run again.
    """
    optimiser = torch.optim.AdamW(
        parameter_groups(stage.module, settings.weight_decay, stage.rates),
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    path = folder / f"{stage.name}.pt"
    step, seconds = 0, 0.0
    if resume and path.is_file():
        state = torch.load(path, map_location="cpu", weights_only=True)
        stage.module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        step, seconds = int(state["step"]), float(state["seconds"])
    last_checkpoint = last_evaluation = last_log = time.monotonic()
    with _bar() as bar:
        task = bar.add_task(stage.name, total=1.0, shown="")
        while (progress := budget.progress(step, seconds)) < 1.0:
            started = time.monotonic()
            rate = learning_rate(settings, progress)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            loss, figures = stage.loss(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(stage.module.parameters(), settings.clip)
            optimiser.step()
            step += 1
            now = time.monotonic()
            seconds += now - started
            bar.update(task, completed=budget.progress(step, seconds), shown=f"step {step}  loss {loss.item():.4f}")
            if now - last_log > 5 or step == 1:
                log.write(stage.name, step, {"loss": loss.item(), "rate": rate, "seconds": seconds, **figures})
                last_log = now
            if now - last_checkpoint > checkpoint_seconds:
                _save(path, stage, optimiser, step, seconds)
                last_checkpoint = now
            if now - last_evaluation > evaluate_seconds:
                log.write(stage.name, step, stage.evaluate())
                last_evaluation = time.monotonic()
    _save(path, stage, optimiser, step, seconds)
    log.write(stage.name, step, stage.evaluate())


def _save(path: Path, stage: Stage, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> None:
    state = {"module": stage.module.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "seconds": seconds}
    save_checkpoint(path, state)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[shown]}"))
