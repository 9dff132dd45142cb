"""What every replayed stage is made of: the new trainer's towers, objectives and stage, fed with recorded batches.

Only drawing is left out, for the batches are there: an objective is made without its sources, and given what its
``loss`` needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from recorded import RecordedInput, RecordedStage, Tensors
from torch import Tensor, nn

from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import (
    DualConfig,
)
from babelclip.towers.dual import DualEncoder
from babelclip.train.data.image_sampler import ImageReader
from babelclip.train.engine.batch import Batch, TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.frozen_outputs import CacheSettings
from babelclip.train.objectives.contrast import Contrast, ContrastSettings
from babelclip.train.objectives.objective import Draw, Objective, ScaledHead
from babelclip.train.objectives.scored_pairs import ScoredPairs, ScoredPairSettings
from babelclip.train.stage import DrawnObjective, Stage
from babelclip.train.stage_towers import InputSettings, StageTowers
from babelclip.train.tower_plan import TowerPlan, prepare_tower

CPU = torch.device("cpu")
FROZEN = TowerPlan(train="frozen")
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Replayed:
    """A recorded stage in the new trainer, and what its parts were called in the old one."""

    stage: Stage
    figures: Mapping[str, str]  # old figure -> new figure
    parameters: Callable[[str], str]  # old parameter -> new parameter


@dataclass(frozen=True)
class Slice:
    """What one objective is asked in a step."""

    objective: int
    inputs: tuple[TowerInput, ...]
    labels: Any
    shares: int | None = None  # the objective whose images it looks at


class RecordedDraws(Stage):
    """A stage whose batches come from files."""

    def __init__(
        self,
        name: str,
        towers: StageTowers,
        objectives: Sequence[Objective],
        rates: Mapping[str, float],
        slices: Callable[[int], list[Slice]],
    ) -> None:
        super().__init__(name, towers, objectives, rates)
        self._slices = slices

    def draw(self, step: int, group: ProcessGroupInfo) -> Batch:
        """The recorded batch."""
        inputs: list[TowerInput] = []
        asked: list[DrawnObjective] = []
        start_of: dict[int, int] = {}
        for one in self._slices(step):
            start = start_of[one.objective] = len(inputs)
            inputs += one.inputs
            shared = None if one.shares is None else start_of[one.shares]
            asked.append(DrawnObjective(one.objective, start, len(inputs), shared, one.labels))
        return Batch(tuple(inputs), tuple(asked))


def objective_of(kind: type, settings: Any, head: nn.Module, towers: tuple[str, ...], **needed: Any) -> Any:
    """An objective without sources: what its loss reads, and nothing else."""
    found = kind.__new__(kind)
    found.settings, found.head, found.towers, found.rates = settings, head, towers, {}
    for name, value in needed.items():
        setattr(found, name, value)
    return found


def contrast_objective(settings: ContrastSettings, towers: tuple[str, ...], *, bank_is_images: bool = False) -> Any:
    """A contrast; ``bank_is_images`` where captions learn from images."""
    head = ScaledHead(settings.temperature, bias=settings.loss == "sigmoid")
    needed = {"_pairs": [None] * len(settings.draws), "_bank_is_images": bank_is_images}
    found = objective_of(Contrast, settings, head, towers, **needed)
    found.rates = {"log_scale": settings.temperature.rate}
    return found


def scored_pairs(**fields: Any) -> Any:
    """Scored pairs."""
    draw = Draw(sources={"recorded": 1.0}, batch=1)
    settings = ScoredPairSettings(kind="scored_pairs", draws=draw, **fields)
    return objective_of(ScoredPairs, settings, nn.Module(), ("text",))


def draws(*numbers: int) -> tuple[Draw, ...]:
    """Draws of some batches, from nothing."""
    return tuple(Draw(sources={"recorded": 1.0}, batch=number) for number in numbers)


def texts_of(inputs: Sequence[RecordedInput]) -> tuple[TowerInput, ...]:
    """Recorded texts as inputs of the text tower."""
    return tuple(TowerInput("text", one.rows, one.number) for one in inputs)


def vectors_input(rows: Tensor) -> TowerInput:
    """Recorded vectors of a frozen tower."""
    return TowerInput("vectors", (rows,), len(rows))


def stage_towers(
    recorded: RecordedStage,
    config: DualConfig,
    state: Tensors,
    text: TowerPlan,
    image: TowerPlan,
    images: ImagePrepareConfig | None = None,
) -> StageTowers:
    """Towers with the recorded weights.

    Args:
        recorded: The stage.
        config: Of both towers.
        state: Their weights; a frozen text tower needs none, for its vectors were recorded.
        text: What of the text tower learns.
        image: What of the image tower learns.
        images: How images were prepared; None for a model of texts.
    """
    model = DualEncoder(config)
    prepare_tower(model.text, text)
    if model.vision is not None:
        prepare_tower(model.vision, image)
    if model.logit_scale is not None:
        model.logit_scale.requires_grad_(False)
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown, f"weights that this model has not: {unknown}"
    is_used = [name for name in missing if text.train != "frozen" or not name.startswith(("text.", "logit_scale"))]
    assert not is_used, f"weights that were not recorded: {is_used}"
    own = recorded.folder / TOKENIZER
    tokenizer = own if own.is_file() else recorded.folder.parent / "text" / TOKENIZER
    texts = TextPreparer(tokenizer, TextPrepareConfig(max_tokens=512))
    reader = None if images is None else ImageReader(ImagePreparer(images), threads=1)
    return StageTowers(model, text, image, texts, reader, InputSettings(), CacheSettings(), Path(), CPU)
