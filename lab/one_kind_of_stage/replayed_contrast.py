"""The old contrastive trainer's tasks as objectives of the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from recorded import RecordedStage, RecordedStep, Tensors
from replayed_configs import text_config, vision_config
from replayed_stage import (
    FROZEN,
    RecordedDraws,
    Replayed,
    Slice,
    contrast_objective,
    draws,
    objective_of,
    scored_pairs,
    stage_towers,
)

from babelclip.prepare.config import ImagePrepareConfig
from babelclip.towers.config import DualConfig
from babelclip.train.engine.batch import TowerInput
from babelclip.train.objectives.contrast import ContrastLabels, ContrastSettings
from babelclip.train.objectives.objective import MatryoshkaSettings, ScaledHead, Temperature
from babelclip.train.objectives.triplets import TripletLabels, Triplets, TripletSettings
from babelclip.train.stage_towers import StageTowers
from babelclip.train.tower_plan import TowerPlan


def contrast_stage(recorded: RecordedStage) -> Replayed:
    """``ContrastStage``: an objective for each task, or one for all whose pairs stand in one matrix."""
    meta, plan = recorded.meta, recorded.meta["plan"]
    sizes = meta["config"]
    vision = vision_config(sizes["vision"])
    config = DualConfig(text=text_config(sizes["text"]), vision=vision, dims=tuple(sizes["dims"]))
    text, image = (
        TowerPlan(**{name: plan[tower][name] for name in ("train", "rank", "alpha", "layer_decay")})
        for tower in ("text", "image")
    )
    tasks = {task["name"]: task["settings"] for task in plan["tasks"]}
    if all(task["kind"] != "image_text" for task in tasks.values()):
        image = FROZEN  # no gradient reached it, and the new trainer wants that said
    prepare = ImagePrepareConfig(**meta["image_prepare"])
    towers = stage_towers(recorded, config, recorded.before("module"), text, image, prepare)
    joined = [name for name, task in tasks.items() if task["unified"]]
    groups = [joined] if joined else [[name] for name in tasks]  # the tasks of each objective
    objectives = [_of_tasks(names[0], [tasks[name] for name in names]) for names in groups]

    def slices(step: int) -> list[Slice]:
        found = recorded.step(step)
        waiting = list(_inputs(found, towers))
        asked = []
        for number, names in enumerate(groups):
            sides = sum(3 if tasks[name]["negatives"] else 2 for name in names)
            labels = _labels(found.labels, names, tasks[names[0]])
            asked.append(Slice(number, tuple(waiting[:sides]), labels))
            waiting = waiting[sides:]
        return asked

    def parameter(name: str) -> str:
        name = name.removeprefix("module.")
        for old, new in (("log_scales", "log_scale"), ("biases", "bias")):
            if name.startswith(f"head.{old}."):
                return f"objectives.{name.removeprefix(f'head.{old}.')}.{new}"
        return name

    rates = text.all_rates("text", towers.model.text) | image.all_rates("vision", towers.vision)
    stage = RecordedDraws(recorded.name, towers, objectives, rates, slices)
    told = {name for step in recorded.figures for name in step} - {"step", "loss", "rate", "gradient"}
    ordered = {f"{name} scale" for name, task in tasks.items() if task["kind"] == "scored_pairs"}  # read by nothing
    same = told - ordered
    return Replayed(stage, {name: name for name in same}, parameter)


def _of_tasks(name: str, tasks: Sequence[Mapping[str, Any]]) -> Any:
    """The objective of a task, or of several whose pairs stand in one matrix."""
    task = tasks[0]
    scale = task["temperature"]
    matryoshka = MatryoshkaSettings(dims=tuple(task["dims"]), dim_weights=tuple(task["dim_weights"]))
    own = {"name": name, "weight": task["weight"], "matryoshka": matryoshka}
    if task["kind"] == "scored_pairs":
        return scored_pairs(**own)
    own["temperature"] = Temperature(start=scale["start"], learned=scale["learned"], max=scale["most"])
    own |= {"loss": task["loss"], "directions": task["directions"]}
    if task["kind"] != "triplets":
        joined = draws(*[one["batch"] for one in tasks])
        return contrast_objective(ContrastSettings(kind="contrast", draws=joined, **own), ("image", "text"))
    (draw,) = draws(task["batch"])
    settings = TripletSettings(kind="triplets", draws=draw, negatives=task["negatives"], **own)
    return objective_of(Triplets, settings, ScaledHead(settings.temperature), ("text",))


def _labels(labels: Tensors, names: Sequence[str], task: Mapping[str, Any]) -> Any:
    """The old trainer's keys: one a row, and none of a negative, which was wrong whatever it was."""
    keys = torch.cat([labels[f"{name}.keys"] for name in names])[:, None]
    if task["kind"] == "scored_pairs":
        return labels[f"{names[0]}.scores"]
    if task["kind"] == "triplets":
        of_nothing = -1 - torch.arange(len(keys) * task["negatives"])[:, None]
        return TripletLabels(keys, of_nothing, labels.get(f"{names[0]}.scores"))
    return ContrastLabels(keys, keys)


def _inputs(found: RecordedStep, towers: StageTowers) -> list[TowerInput]:
    inputs = []
    for place, one in enumerate(found.inputs):
        rows, kind = one.rows, one.kind
        if f"features.{place}" in found.labels:
            rows, kind = (found.labels[f"features.{place}"],), "image features"
        elif kind == "image":
            assert torch.equal(towers.pixels(rows[0]), found.labels[f"pixels.{place}"]), "pixels of crops"
        inputs.append(TowerInput(kind, rows, one.number, one.positions))  # type: ignore[arg-type]
    return inputs
