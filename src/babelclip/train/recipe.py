"""A training recipe: one TOML file, read into frozen dataclasses; unknown and missing keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from babelclip.decode import decode, read_toml
from babelclip.errors import ConfigError
from babelclip.train.data.sources import DataSource
from babelclip.train.engine.loop import Budget
from babelclip.train.engine.optimizer import OptimizerSettings
from babelclip.train.frozen_outputs import CacheSettings
from babelclip.train.objectives.class_names import ClassNameSettings
from babelclip.train.objectives.contrast import ContrastSettings
from babelclip.train.objectives.distill_tokens import DistillTokenSettings
from babelclip.train.objectives.distill_vectors import AnchorSettings, DistillVectorSettings
from babelclip.train.objectives.scored_pairs import ScoredPairSettings
from babelclip.train.objectives.triplets import TripletSettings
from babelclip.train.post_steps.centering import CenteringSettings
from babelclip.train.post_steps.fit_projection import FitProjectionSettings
from babelclip.train.post_steps.round_words import RoundWordsSettings
from babelclip.train.post_steps.similarity import SimilaritySettings
from babelclip.train.stage_towers import InputSettings
from babelclip.train.tower_plan import TowerPlan

AnyObjective = (
    ContrastSettings
    | TripletSettings
    | ScoredPairSettings
    | DistillVectorSettings
    | DistillTokenSettings
    | ClassNameSettings
    | AnchorSettings
)
AnyPostStep = FitProjectionSettings | SimilaritySettings | CenteringSettings | RoundWordsSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """One stage: what of the towers learns, from which objectives, for how long."""

    name: str
    budget: Budget
    optimizer: OptimizerSettings
    objectives: tuple[AnyObjective, ...]
    text: TowerPlan = TowerPlan()
    image: TowerPlan = TowerPlan()
    inputs: InputSettings = InputSettings()
    image_size: int | None = None  # from here on; None: as before
    piece: int | None = None  # rows per forward pass: gradient caching
    post_steps: tuple[AnyPostStep, ...] = ()  # what is done to the weights when it has ended

    def __post_init__(self) -> None:
        self._check_names()
        if self.text.train == self.image.train == "frozen":
            raise ConfigError(f"stage {self.name!r}: text and image are both frozen, so nothing is trained")
        if not 0 < self.inputs.keep_patches <= 1 or not 0 <= self.inputs.whole_share <= 1:
            raise ConfigError(
                f"stage {self.name!r}: keep_patches must be above 0 and at most 1, whole_share from 0 to 1; found "
                f"{self.inputs.keep_patches} and {self.inputs.whole_share}"
            )
        self._check_shared_images()

    def _check_names(self) -> None:
        names = [objective.name for objective in self.objectives]
        if not names or len(set(names)) != len(names) or any("." in name for name in names):
            raise ConfigError(f"stage {self.name!r}: objectives need names of their own without a dot, found {names}")
        if all(objective.every > 1 for objective in self.objectives):
            raise ConfigError(f"stage {self.name!r}: one objective at least needs every = 1: no step may be empty")

    def _check_shared_images(self) -> None:
        """Images are shared with an objective that stands above, has images, and is asked whenever they are wanted."""
        above: dict[str, AnyObjective] = {}
        for objective in self.objectives:
            wanted = getattr(objective, "images_of", "")
            other = above.get(wanted)
            if wanted and (other is None or not _has_images(other) or objective.every % other.every):
                known = ", ".join(name for name, one in above.items() if _has_images(one)) or "none"
                raise ConfigError(
                    f"stage {self.name!r}: {objective.name!r} has images_of = {wanted!r}, which must be an objective "
                    f"above it that draws images, at least as often; there are {known}"
                )
            above[objective.name] = objective


def _has_images(objective: AnyObjective) -> bool:
    return isinstance(objective, ContrastSettings) or getattr(objective, "images", None) is not None


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
class ForeignWeights:
    """Files to start the published architecture from, relative to ``--data`` (``babelclip.train.foreign_weights``)."""

    architecture: Literal["jina_clip_v2"]
    text: str
    vision: str
    tokenizer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteSettings:
    """How the finished model is written."""

    name: str = ""  # "": as the model that it began as, with "-tuned" behind
    storage: Literal["as_before", "float32", "int8", "int8_int4_words"] = "as_before"
    card: str = ""  # a TOML file with the card's facts, relative to --data; "": from the model that it began as
    notice: str = ""  # a text that goes beside the weights, relative to --data


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that a run depends on but the model that it begins with and the data themselves."""

    data: Mapping[str, DataSource]
    stages: tuple[StagePlan, ...]
    model: NewModel | None = None  # what to start from where --model names nothing
    foreign_weights: ForeignWeights | None = None  # the same, from other makers' weights
    start: str = ""  # the same, a model folder below --data
    seed: int = 0
    threads: int = 0  # of the computation on a CPU; 0: as torch chooses
    held_out: float = 0.1  # share of captioned images that is not trained on but measured with
    interpolation: float = 1.0  # share of the change that is kept (WiSE-FT, Wortsman et al. 2022); less forgets less
    cache: CacheSettings = CacheSettings()
    write: WriteSettings = WriteSettings()
    folder: Path = field(default=Path())  # where the recipe lies

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"stages need names of their own, found {names}")
        given = {"model": self.model, "foreign_weights": self.foreign_weights, "start": self.start or None}
        if sum(one is not None for one in given.values()) > 1:
            raise ConfigError(f"{', '.join(given)} all say what to begin from; give one of them")
        if not 0 <= self.held_out < 1 or not 0 < self.interpolation <= 1:
            raise ConfigError(
                f"held_out {self.held_out} must be from 0 to below 1, interpolation {self.interpolation} above 0 and "
                "at most 1"
            )

    def trial(self, steps: int) -> Recipe:
        """The same with at most so many steps a stage, to try it."""
        return replace(self, stages=tuple(replace(stage, budget=Budget(steps=steps)) for stage in self.stages))


def find_recipe(name: str) -> Path:
    """A recipe by path, or by name one of the project's own: beside the package, or inside an installed one.

    Raises:
        ConfigError: There is none; it lists the names.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).resolve().parents[1]
    homes = [home for home in (package / "recipes", package.parents[1] / "recipes") if home.is_dir()]
    files = {
        file.relative_to(home).with_suffix("").as_posix(): file
        for home in homes
        for file in home.rglob("*.toml")
        if "[[stages]]" in file.read_text(encoding="utf-8")  # other tables lie beside recipes too
    }
    if name in files:
        return files[name]
    raise ConfigError(f"no recipe {name!r}: it is neither a file nor one of {', '.join(sorted(files))}")


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        ConfigError: The file is absent, is no TOML, has a key too many, too few, or of a wrong type, or two fields
            contradict each other.
    """
    if not path.is_file():
        raise ConfigError(f"no recipe at {path}; the project's own are in recipes/")
    fields = read_toml(path)
    if "folder" in fields:
        raise ConfigError(f"{path.name}: unknown folder")
    return replace(decode(Recipe, fields, path.name), folder=path.parent)
