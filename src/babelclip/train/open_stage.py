"""From what a recipe says of a stage to the stage: towers prepared, sources opened, objectives made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import torch

from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.train.data.sources import Sources
from babelclip.train.engine.step import Figures
from babelclip.train.frozen_outputs import CacheSettings
from babelclip.train.objectives.class_names import ClassNameAgreement, ClassNameSettings
from babelclip.train.objectives.contrast import Contrast, ContrastSettings
from babelclip.train.objectives.distill_tokens import DistillTokenSettings, TokenDistillation
from babelclip.train.objectives.distill_vectors import (
    Anchor,
    AnchorSettings,
    DistillVectorSettings,
    VectorDistillation,
)
from babelclip.train.objectives.objective import Context, Objective
from babelclip.train.objectives.scored_pairs import ScoredPairs, ScoredPairSettings
from babelclip.train.objectives.triplets import Triplets, TripletSettings
from babelclip.train.recipe import AnyObjective, Recipe, StagePlan
from babelclip.train.stage import Stage
from babelclip.train.stage_towers import StageTowers, image_reader
from babelclip.train.tower_plan import TowerPlan, prepare_tower


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all stages of a run share."""

    recipe: Recipe
    sources: Sources
    data: Path
    caches: Path
    texts: TextPreparer
    images: ImagePreparer | None
    device: torch.device
    rank: int = 0


def open_towers(plan: StagePlan, model: DualEncoder, workshop: Workshop) -> StageTowers:
    """The model's towers, prepared as the plan says.

    Raises:
        ConfigError: The plan names blocks or parameters that a tower has not.
    """
    prepare_tower(model.text, plan.text)
    if model.vision is not None:
        prepare_tower(model.vision, plan.image)
    if model.logit_scale is not None:
        model.logit_scale.requires_grad_(False)  # every objective has a temperature of its own
    return StageTowers(
        model,
        plan.text,
        plan.image,
        workshop.texts,
        image_reader(workshop.images),
        replace(plan.inputs, seed=plan.inputs.seed + workshop.recipe.seed),
        workshop.recipe.cache,
        workshop.caches,
        workshop.device,
        workshop.rank,
    )


def open_stage(plan: StagePlan, model: DualEncoder, workshop: Workshop, measure: Callable[[], Figures] = dict) -> Stage:
    """A stage, ready to be run.

    Args:
        plan: What the recipe says.
        model: Whose towers are trained; on the workshop's device.
        workshop: What all stages share.
        measure: Figures on held-out images.

    Raises:
        ConfigError: Plan, model and data contradict each other.
        DatasetError: Data are missing or not as documented.
    """
    towers = open_towers(plan, model, workshop)
    seed = towers.settings.seed
    context = Context(towers=towers, sources=workshop.sources, seed=seed, draw_numbers=count())
    objectives = [make_objective(settings, context, workshop) for settings in plan.objectives]
    return Stage(plan.name, towers, objectives, _rates(plan, model), measure)


def make_objective(settings: AnyObjective, context: Context, workshop: Workshop) -> Objective:
    """The objective that some settings are of."""
    match settings:
        case ContrastSettings():
            return Contrast(settings, context)
        case TripletSettings():
            return Triplets(settings, context)
        case ScoredPairSettings():
            return ScoredPairs(settings, context)
        case DistillVectorSettings():
            return VectorDistillation(settings, context)
        case AnchorSettings():
            return Anchor(settings, context)
        case ClassNameSettings():
            return ClassNameAgreement(settings, context)
        case DistillTokenSettings():
            return TokenDistillation(settings, context, workshop.recipe.folder, workshop.data)


def _rates(plan: StagePlan, model: DualEncoder) -> dict[str, float]:
    rates = plan.text.all_rates("text", model.text)
    return rates if model.vision is None else rates | plan.image.all_rates("vision", model.vision)


def open_frozen(plan: StagePlan, model: DualEncoder, workshop: Workshop) -> StageTowers:
    """Both towers frozen and uncut, as post-steps want them."""
    frozen = TowerPlan(train="frozen")
    for tower in (model.text, model.vision):
        if tower is not None:
            tower.requires_grad_(False)
    inputs = replace(plan.inputs, seed=plan.inputs.seed + workshop.recipe.seed)
    reader, caches = image_reader(workshop.images), workshop.caches
    cache, device = CacheSettings(), workshop.device
    return StageTowers(model, frozen, frozen, workshop.texts, reader, inputs, cache, caches, device)
