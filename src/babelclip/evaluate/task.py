"""What an evaluation task is: facts about its data, and scores of an encoder on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from babelclip.evaluate.encode import EncodeOnce

Setting = str | int | float | bool | list[str] | list[int]


@dataclass(frozen=True, slots=True)
class Score:
    """One figure. ``value``, ``low`` and ``high`` are percent for hits, -1..1 for correlations."""

    language: str
    metric: str  # such as text_to_image_recall@5, top1, spearman
    value: float
    count: int  # queries, photos or pairs measured
    low: float  # 95% bootstrap interval
    high: float
    dim: int | None = None  # cut to so many numbers; None: the run's own width
    precision: str = "float32"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that a task reads, named relative to the data folder."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is measured, on what. Equal facts and an equal encoder give equal scores."""

    name: str
    family: str  # crossmodal | names | sts | bitext | topics
    data: tuple[DataFile, ...]
    licenses: tuple[str, ...] = ()
    settings: dict[str, Setting] = field(default_factory=dict)


def english_first(language: str) -> tuple[bool, str]:
    """Sort key: English, then the others by code."""
    return language != "en", language


def whole(scores: Iterable[Score]) -> list[Score]:
    """Those of vectors that were neither cut nor quantized."""
    return [score for score in scores if score.dim is None and score.precision == "float32"]


class Task(Protocol):
    """A task reads its files when it is built, so missing data is known before the first vector is computed."""

    @property
    def facts(self) -> TaskFacts: ...

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        """Scores per language and metric, in a stable order. ``seed`` is for the bootstrap alone."""
        ...
