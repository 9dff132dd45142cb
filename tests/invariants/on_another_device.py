"""What the process of ``test_one_device.py`` does: everything that trains, on the CPU and on another device.

Prints JSON: what was run -> what both devices computed, or what went wrong.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from python_device import CPU, other_device
from training_stages import STAGES, tiny_stage

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.folder import ModelFolder
from babelclip.train.engine.batch import Batch, TowerInput, move
from babelclip.train.engine.loop import Budget, Engine, StageRun
from babelclip.train.engine.optimizer import OptimizerSettings
from babelclip.train.objectives import losses
from babelclip.train.post_steps.centering import CenteringSettings
from babelclip.train.post_steps.round_words import RoundWordsSettings
from babelclip.train.recipe import Recipe, find_recipe, read_recipe
from babelclip.train.run import RunOptions, train
from babelclip.train.start_model import start_model
from babelclip.train.tower_plan import TowerPlan

PIECE = 4
STEPS = 2
MANY = "many, not all in every step"
Figures = list[float]


def losses_of(name: str, data: Path, device: torch.device, piece: int | None = None) -> Figures:
    """Of the first steps of a stage; its figures are asked as well."""
    stage = tiny_stage(name, data, device=str(device))
    settings = OptimizerSettings(learning_rate=1e-2, average=0.9)
    run = StageRun(stage, settings, Engine(device=device, piece=piece))
    found = [float(run.step(1e-2)[0]) for _ in range(STEPS)]
    return [*found, *map(float, run.evaluate().values())]


def nano(steps: int, batch: int) -> Recipe:
    """The recipe of that name, in smaller."""
    recipe = read_recipe(find_recipe("nano"))
    (stage,) = recipe.stages
    (objective,) = stage.objectives
    draws = tuple(replace(draw, batch=batch) for draw in objective.draws)  # type: ignore[union-attr]
    smaller = replace(objective, draws=draws)
    return replace(recipe, stages=(replace(stage, budget=Budget(steps=steps), objectives=(smaller,)),))


def start_of(recipe: Recipe, data: Path, out: Path) -> ModelFolder:
    """What nano begins with."""
    return start_model(recipe, None, bundled_folder() / "tokenizer.json", data, out)


def run_of_nano(data: Path, device: torch.device) -> Figures:
    """A whole run: two stages, one of them of low rank, post-steps, interpolation, held-out images."""
    recipe = nano(2, 8)
    low = TowerPlan(train="lora", rank=2)
    post_steps = RoundWordsSettings(kind="round_words"), CenteringSettings(kind="centering", images=("shapes",))
    second = replace(recipe.stages[0], name="second", text=low, image=low, image_size=48, post_steps=post_steps)
    recipe = replace(recipe, stages=(*recipe.stages, second), interpolation=0.7)
    out = data.parent / f"run-{device.type}"
    train(recipe, start_of(recipe, data, out / "start"), data, out, RunOptions(device=device, say=lambda line: None))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line[name] for line in lines for name in line if name in ("loss", "gradient") or "recall" in name]


@contextmanager
def labels_that_stay() -> Iterator[None]:
    """Planted: a batch leaves its labels on the CPU."""
    whole, Batch.to = Batch.to, lambda batch, device: Batch(move(batch.inputs, device), batch.labels)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Batch.to = whole  # type: ignore[method-assign]


@contextmanager
def inputs_that_stay() -> Iterator[None]:
    """Planted: a batch leaves what the towers read on the CPU."""
    whole, TowerInput.to = TowerInput.to, lambda rows, device: rows  # type: ignore[method-assign,assignment]
    moved, Batch.to = Batch.to, lambda batch, device: Batch(batch.inputs, move(batch.labels, device))  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        TowerInput.to, Batch.to = whole, moved  # type: ignore[method-assign]


@contextmanager
def a_loss_that_forgets() -> Iterator[None]:
    """Planted: a loss makes a tensor without saying where."""
    whole = losses.weighted_mean

    def careless(terms: torch.Tensor, weights: object) -> torch.Tensor:
        return (terms * torch.ones(len(terms))).mean()

    losses.weighted_mean = careless  # type: ignore[assignment]
    sys.modules["babelclip.train.objectives.contrast"].weighted_mean = careless  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sys.modules["babelclip.train.objectives.contrast"].weighted_mean = whole  # type: ignore[attr-defined]
        losses.weighted_mean = whole


PLANTED = {"labels": labels_that_stay, "inputs": inputs_that_stay, "loss": a_loss_that_forgets}


def told(run: Callable[..., object], *arguments: object) -> object:
    """What a run gives, or where it fails."""
    try:
        return run(*arguments)
    except Exception as error:
        places = [place for place in traceback.extract_tb(error.__traceback__) if "babelclip" in place.filename]
        return f"{type(error).__name__}: {error}, at {places[-1].filename}:{places[-1].lineno}"


def main(data: Path, shapes: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    with other_device() as other:
        for name in STAGES:
            found[name] = [told(losses_of, name, data, device) for device in (CPU, other)]
        found["cached"] = [told(losses_of, MANY, data, device, PIECE) for device in (CPU, other)]
        found["nano"] = [told(run_of_nano, shapes, device) for device in (CPU, other)]
        for fault, planted in PLANTED.items():
            with planted():
                found[f"planted: {fault}"] = told(losses_of, MANY, data, other)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
