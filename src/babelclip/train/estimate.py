"""What a stage would need: parameters, tokens, memory, time per step. Nothing is read or trained.

Arithmetic, with its sources. Every text counts with as many tokens as the stage allows; figures for hardware are the
makers' peaks times a share that such training usually reaches. Meant to choose a batch by, within a factor of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from babelclip.checkpoint.names import tensor_specs
from babelclip.towers.config import ClipVisionConfig, DualConfig, LinearPatchesConfig
from babelclip.train.objectives.class_names import ClassNameSettings
from babelclip.train.objectives.contrast import ContrastSettings
from babelclip.train.objectives.distill_tokens import DistillTokenSettings
from babelclip.train.objectives.distill_vectors import AnchorSettings, DistillVectorSettings
from babelclip.train.objectives.scored_pairs import ScoredPairSettings
from babelclip.train.objectives.triplets import TripletSettings
from babelclip.train.recipe import AnyObjective, StagePlan
from babelclip.train.tower_plan import TowerPlan

HARDWARE: Mapping[str, float] = {  # useful TFLOP/s in training: peak of dense bfloat16 times a usual share
    "H100 SXM": 989 * 0.40,
    "A100": 312 * 0.45,
    "RTX 4090": 165 * 0.45,
    "two CPU cores (AVX-512 BF16)": 0.30,  # measured: lab/LOG.md
}
BLOCK_BYTES = 34  # per token, width and block, in 16 bits, attention fused (Korthikanti et al. 2022, equation 2 without
#                   its quadratic term); in 32 bits twice that
ADAM_BYTES = 16  # float32 weight, gradient and two moments
FROZEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class TowerNeeds:
    """Of one tower in one step."""

    parameters: int
    trained: int
    rows: int  # texts or images of a step
    tokens: int  # of a step
    flops: float  # forward and backward of a step
    bytes_kept: float  # inner values that the backward pass needs, of one piece


@dataclass(frozen=True, slots=True)
class StageNeeds:
    """Of one stage."""

    name: str
    towers: Mapping[str, TowerNeeds]

    @property
    def weights_bytes(self) -> float:
        """Weights, gradients, moments."""
        return sum(
            FROZEN_BYTES * (tower.parameters - tower.trained) + ADAM_BYTES * tower.trained
            for tower in self.towers.values()
        )

    @property
    def bytes_kept(self) -> float:
        return sum(tower.bytes_kept for tower in self.towers.values())

    @property
    def flops(self) -> float:
        return sum(tower.flops for tower in self.towers.values())

    def seconds(self) -> dict[str, float]:
        """Hardware -> seconds of a step on one such device."""
        return {name: self.flops / (speed * 1e12) for name, speed in HARDWARE.items()}


def stage_needs(plan: StagePlan, config: DualConfig) -> StageNeeds:
    """Figures of a stage for a model."""
    towers = {"text": _text_needs(plan, config)}
    if config.vision is not None:
        towers["vision"] = _vision_needs(plan, config)
    return StageNeeds(plan.name, towers)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the figures of a tower depend on."""

    prefix: str
    layers: int
    width: int
    in_blocks: int  # weights of all blocks' matrices
    sides: int  # rows plus columns of all matrices that LoRA would change


def _text_needs(plan: StagePlan, config: DualConfig) -> TowerNeeds:
    text = config.text
    matrices = [(3 * text.width, text.width), (text.width, text.width), (text.hidden, text.width)]
    matrices.append((text.width, text.hidden))
    others = [(text.embed_dim, text.width)] * text.projection + [(text.width, text.width)] * text.pooler
    shape = _shape("text.", text.num_layers, text.width, matrices, others)
    longest = plan.inputs.max_tokens
    rows = sum(_items(objective, longest).texts for objective in plan.objectives)
    return _tower_needs(plan, plan.text, config, shape, rows, longest)


def _vision_needs(plan: StagePlan, config: DualConfig) -> TowerNeeds:
    vision = config.vision
    assert vision is not None
    matrices = [(vision.width, vision.width)] * 4 + [(vision.hidden, vision.width)] * 3
    patches, others = vision.patches, []
    if isinstance(vision, ClipVisionConfig):
        matrices = [(3 * vision.width, vision.width), (vision.width, vision.width)]
        matrices += [(vision.hidden, vision.width)] * 2
        others = [(vision.embed_dim, vision.width)]
    is_linear = isinstance(patches, LinearPatchesConfig)
    if not isinstance(patches, LinearPatchesConfig):
        others = [(vision.width, patches.head_width)]
        if patches.classes:
            others += [(patches.classes, patches.head_width), (vision.width, patches.classes)]
    shape = _shape("vision.", vision.num_layers, vision.width, matrices, others)
    rows = sum(_items(objective, plan.inputs.max_tokens).images for objective in plan.objectives)
    size, stride = plan.image_size or vision.image_size, vision.patches.stride
    grid = size // stride if is_linear else -(-size // stride)
    return _tower_needs(plan, plan.image, config, shape, rows, 1 + max(1, round(grid**2 * plan.inputs.keep_patches)))


def _shape(
    prefix: str, layers: int, width: int, matrices: list[tuple[int, int]], others: list[tuple[int, int]]
) -> _Shape:
    sides = layers * sum(a + b for a, b in matrices) + sum(a + b for a, b in others)
    return _Shape(prefix, layers, width, layers * sum(a * b for a, b in matrices), sides)


def _tower_needs(
    plan: StagePlan, tower: TowerPlan, config: DualConfig, shape: _Shape, rows: int, tokens: int
) -> TowerNeeds:
    parameters = sum(prod(spec.shape) for spec in tensor_specs(config) if spec.name.startswith(shape.prefix))
    added = tower.rank * shape.sides if tower.train == "lora" else 0
    trained = added if tower.train == "lora" else parameters * (tower.train == "full")
    forward = rows * tokens * (2.0 * shape.in_blocks + 4.0 * shape.layers * tokens * shape.width)
    piece = rows if plan.piece is None else min(rows, plan.piece)
    passes, kept_layers = 1.0, 0.0
    if tower.train != "frozen":  # backward costs twice a forward; checkpoints and caching one more forward each
        passes = 3.0 + tower.checkpoint + (piece < rows)
        kept_layers = 1 + shape.layers * 2 / BLOCK_BYTES if tower.checkpoint else shape.layers
    number_bytes = BLOCK_BYTES * (1 if plan.inputs.half_precision else 2)
    kept = piece * tokens * shape.width * number_bytes * kept_layers
    return TowerNeeds(parameters + added, trained, rows, rows * tokens, forward * passes, kept)


@dataclass(frozen=True, slots=True)
class _Items:
    """What an objective gives the towers in a step in which it is asked."""

    texts: int
    images: int


def _items(objective: AnyObjective, longest: int) -> _Items:
    """Rows that are drawn by tokens count as texts of the longest kind. Of extra negatives, vectors are kept.

    A contrast's first draw is taken for captioned images where others stand beside it or views are set; what its data
    are, only the data say.
    """
    match objective:
        case ContrastSettings():
            images = objective.draws[0].batch
            return _Items(images + 2 * sum(draw.batch for draw in objective.draws[1:]), images)
        case TripletSettings():
            return _Items(objective.draws.batch * (2 + objective.negatives), 0)
        case ScoredPairSettings():
            return _Items(2 * objective.draws.batch, 0)
        case DistillTokenSettings():
            return _Items(objective.texts.token_budget // longest, 0)
        case DistillVectorSettings() | AnchorSettings():
            texts = 0 if objective.texts is None else objective.texts.token_budget // longest
            return _Items(texts, 0 if objective.images is None else objective.images.batch)
        case ClassNameSettings():
            return _Items(0, 0 if objective.images is None else objective.images.batch)


def needs_table(needs: StageNeeds) -> str:
    """The figures as lines to read."""
    lines = [f"stage {needs.name}"]
    for name, tower in needs.towers.items():
        lines.append(
            f"  {name}: {tower.parameters / 1e6:,.1f}M parameters, {tower.trained / 1e6:,.1f}M trained; "
            f"{tower.rows:,} rows and {tower.tokens:,} tokens a step"
        )
    total = needs.weights_bytes + needs.bytes_kept
    weights, inner, total = (size / 2**30 for size in (needs.weights_bytes, needs.bytes_kept, total))
    lines.append(
        f"  memory: {weights:,.1f} GiB weights, gradients and moments, {inner:,.1f} GiB inner values; "
        f"{total:,.1f} GiB on one device, replicated"
    )
    times = ", ".join(f"{seconds:,.2g} s on one {name}" for name, seconds in needs.seconds().items())
    lines.append(f"  {needs.flops / 1e12:,.3g} TFLOP a step: {times}")
    return "\n".join(lines)
