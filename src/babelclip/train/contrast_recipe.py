"""A recipe of contrastive stages: what ``kind = "contrast"`` at the head of a TOML file asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from babelclip.errors import ConfigError
from babelclip.train.data.captioned import CaptionedImages, open_captioned
from babelclip.train.data.text_rows import TextRow, read_text_rows
from babelclip.train.loop import Budget
from babelclip.train.optim import OptimSettings
from babelclip.train.tasks import Task, TaskSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerPlan:
    """What of a tower is trained."""

    train: Literal["full", "lora", "frozen"] = "full"
    rank: int = 8  # of LoRA
    alpha: float = 16.0
    layer_decay: float = 1.0  # of the learning rate, from each block to the one below
    checkpoint: bool = False  # gradient checkpointing: blocks are computed twice, their inner values not kept

    def __post_init__(self) -> None:
        if self.train != "full" and self.layer_decay != 1.0:
            raise ConfigError(f"train = {self.train!r} and layer_decay = {self.layer_decay} contradict each other")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """A path, relative to the folder that ``--data`` names where it is not absolute, and how often it is drawn."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPlan:
    """A task and where its data are."""

    name: str
    data: tuple[DataSource, ...]
    settings: TaskSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """One stage."""

    name: str
    budget: Budget
    optim: OptimSettings
    tasks: tuple[TaskPlan, ...]
    text: TowerPlan = TowerPlan()
    image: TowerPlan = TowerPlan()
    max_tokens: int = 77
    image_size: int | None = None  # None: the model's own
    keep_patches: float = 1.0
    half_precision: bool = False
    piece: int | None = None  # rows per forward pass: gradient caching
    keep_features: int = 0  # crops whose features of a frozen convolutional trunk are kept in memory (tasks with views)

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"stage {self.name!r}: tasks need names of their own, found {names}")
        if self.text.train == self.image.train == "frozen":
            raise ConfigError(f"stage {self.name!r}: text and image are both frozen, so nothing is trained")
        if self.keep_features and self.image.train == "full":
            raise ConfigError(
                f"stage {self.name!r}: keep_features = {self.keep_features} and image.train = 'full' contradict each "
                "other; the features of a trunk that is trained change at every step"
            )
        if not 0 < self.keep_patches <= 1:
            raise ConfigError(f"stage {self.name!r}: keep_patches must be in 0..1, found {self.keep_patches}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewText:
    """Sizes of a text tower."""

    width: int
    layers: int
    heads: int
    hidden: int
    max_tokens: int = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVision:
    """Sizes of an image tower with linear patches."""

    image_size: int
    patch: int
    width: int
    layers: int
    head_width: int
    hidden: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewModel:
    """Towers with random weights to start from; the tokenizer is the bundled model's."""

    name: str
    text: NewText
    vision: NewVision
    dims: tuple[int, ...]  # Matryoshka widths; the last is the image tower's own

    def __post_init__(self) -> None:
        if self.dims[-1:] != (self.vision.width,):
            raise ConfigError(f"dims {self.dims} must end with the image tower's width {self.vision.width}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StartingPoints:
    """Files to start the published architecture from, relative to ``--data`` (``babelclip.train.starting_points``)."""

    architecture: Literal["jina_clip_v2"]
    text: str
    vision: str
    tokenizer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastRecipe:
    """Everything that a run depends on but the model and the data."""

    kind: Literal["contrast"]
    stages: tuple[StagePlan, ...]
    model: NewModel | None = None  # what to start from where --model names nothing
    start: StartingPoints | None = None  # the same, from the large model's own starting points
    seed: int = 0
    threads: int = 0  # of the computation; 0: as torch chooses
    held_out: float = 0.1  # share of captioned images that is not trained on but measured with
    kept: float = 1.0  # share of the change that is kept (WiSE-FT, Wortsman et al. 2022); less forgets less
    folder: Path = field(default=Path())  # where the recipe lies

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"stages need names of their own, found {names}")
        if self.model is not None and self.start is not None:
            raise ConfigError("model and start both say what to begin from; give one of them")
        if not 0 <= self.held_out < 1 or not 0 < self.kept <= 1:
            raise ConfigError(f"held_out {self.held_out} must be in 0..1 and kept {self.kept} above 0, at most 1")


class Rows:
    """Some rows of captioned images."""

    def __init__(self, images: CaptionedImages, rows: Sequence[int]) -> None:
        self._images, self._rows = images, tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, row: int) -> str:
        return self._images.name(self._rows[row])

    def image(self, row: int) -> bytes:
        return self._images.image(self._rows[row])

    def captions(self, row: int) -> dict[str, list[str]]:
        return {language: list(texts) for language, texts in self._images.captions(self._rows[row]).items()}


Source = CaptionedImages | tuple[TextRow, ...]


def open_tasks(stage: StagePlan, data: Path, held_out: float) -> tuple[list[Task], list[CaptionedImages]]:
    """The stage's tasks with their sources, and what of the captioned images is held out.

    Every n-th image is held out, so that a run which is resumed, or another stage, holds out the same.

    Raises:
        DatasetError: a source is absent or not as documented.
    """
    tasks: list[Task] = []
    kept_back: list[CaptionedImages] = []
    for plan in stage.tasks:
        sources: list[Source] = []
        for source in plan.data:
            path = data / source.path
            if plan.settings.kind != "image_text":
                scored = plan.settings.kind == "scored_pairs"
                sources.append(read_text_rows(path, negatives=plan.settings.negatives, scored=scored))
                continue
            images = open_captioned(path)
            every = round(1 / held_out) if held_out else len(images) + 1
            measured = range(every - 1, len(images), every)
            sources.append(Rows(images, sorted(set(range(len(images))) - set(measured))))
            if measured:
                kept_back.append(Rows(images, measured))
        weights = tuple(source.weight for source in plan.data)
        tasks.append(Task(plan.name, plan.settings, tuple(sources), weights))
    return tasks, kept_back
