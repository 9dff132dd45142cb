"""What a stage learns from at once: tasks, each with its data, loss, weight and temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.train.data.captioned import CaptionedImages
from babelclip.train.data.text_rows import TextRow
from babelclip.train.losses import Directions

Kind = Literal["image_text", "text_pairs", "triplets", "scored_pairs"]
LossName = Literal["info_nce", "sigmoid", "hard_negatives", "scores", "cosent"]
LOSSES: Mapping[Kind, tuple[LossName, ...]] = {
    "image_text": ("info_nce", "sigmoid"),
    "text_pairs": ("info_nce", "sigmoid"),
    "triplets": ("hard_negatives", "scores"),
    "scored_pairs": ("cosent",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """Scale of a task's cosines: learned from ``start`` and never above ``most``, or fixed at ``start``."""

    start: float = 14.3  # 1 / 0.07 (CLIP)
    learned: bool = True
    most: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.start <= self.most:
            raise ConfigError(f"a temperature's start {self.start} must be above 0 and at most its most {self.most}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """What the recipe says about a task."""

    kind: Kind
    batch: int
    loss: LossName
    weight: float = 1.0
    directions: Directions = "mean"
    temperature: Temperature = Temperature()
    dims: tuple[int, ...] = ()  # Matryoshka widths; none: the model's own
    dim_weights: tuple[float, ...] = ()
    english_share: float = 0.0  # of captions that are drawn in English where there are some, besides its even turn
    negatives: int = 0
    augment: bool = True
    views: int = 0  # augmented views of an image, the same ones again and again; 0: another view every time
    unified: bool = False  # in one matrix with the stage's other unified tasks: images see their texts, and the reverse

    def __post_init__(self) -> None:
        if self.loss not in LOSSES[self.kind]:
            raise ConfigError(f"loss {self.loss!r} does not go with kind {self.kind!r}; known: {LOSSES[self.kind]}")
        if (self.negatives > 0) != (self.kind == "triplets"):
            raise ConfigError(f"kind {self.kind!r} and negatives {self.negatives} contradict each other")
        if self.views < 0 or (self.views and not self.augment):
            raise ConfigError(f"views = {self.views} and augment = {self.augment} contradict each other")
        if self.unified and self.kind not in ("image_text", "text_pairs"):
            raise ConfigError(f"kind {self.kind!r} has no place in a unified batch")
        if self.dim_weights and len(self.dim_weights) != len(self.dims):
            raise ConfigError(f"dims {self.dims} and dim_weights {self.dim_weights} differ in length")


@dataclass(frozen=True, slots=True)
class Task:
    """Settings, and sources with their weights."""

    name: str
    settings: TaskSettings
    sources: tuple[CaptionedImages | tuple[TextRow, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TaskLabels:
    """Of the whole batch of one task."""

    keys: Tensor  # (B,) equal where the text is
    scores: Tensor | None = None  # (B,) of pairs, or (B, 1 + K) of a reranker


def check_unified(tasks: Sequence[Task]) -> None:
    """Tasks in one matrix have one loss and one temperature.

    Raises:
        ConfigError: names both tasks and what differs.
    """
    unified = [task for task in tasks if task.settings.unified]
    for other in unified[1:]:
        for field in ("loss", "weight", "directions", "temperature", "dims", "dim_weights"):
            one, two = getattr(unified[0].settings, field), getattr(other.settings, field)
            if one != two:
                raise ConfigError(
                    f"unified tasks {unified[0].name} and {other.name} differ in {field}: {one!r} and {two!r}"
                )
