"""A training recipe: one TOML file, read into frozen dataclasses; unknown and missing keys are errors."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from babelclip.errors import ConfigError
from babelclip.train.caption_stage import CaptionSettings
from babelclip.train.centering import CenteringSettings
from babelclip.train.contrast_recipe import ContrastRecipe
from babelclip.train.features import Views
from babelclip.train.image_stage import ImageSettings
from babelclip.train.likeness import LikenessSettings
from babelclip.train.loop import Budget
from babelclip.train.optim import OptimSettings
from babelclip.train.text_stage import TextSettings
from babelclip.train.token_stage import TokenSettings

T = TypeVar("T")
SOURCES = "training-sources"  # lies beside the recipes, and is none


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """Sizes of the towers; what they start from is fixed (``babelclip.train.pretrained``)."""

    name: str
    vocabulary: int
    text_layers: tuple[int, ...]  # which layers of the teacher the student starts from
    rotary_base: float
    max_tokens: int
    image_size: int  # of the finished model; the first image stages may see fewer pixels (``FeatureSettings.size``)
    vision_layers: int
    vision_hidden: int
    dims: tuple[int, ...]  # Matryoshka widths, ascending; the last is the teacher's width
    int4_words: bool = False  # how the shipped model stores its word embeddings; lossless where they never changed


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """What is read. ``tokenizer`` is a path, relative to the data folder's parent where it is not absolute."""

    tokenizer: str
    sources: str  # the manifest of sources, relative to the recipe's own folder
    exclude_sources: tuple[str, ...]
    held_out_source: str
    held_out_share: int  # one photo in so many is held out


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceSettings:
    """``strength`` of the discriminant (``babelclip.train.target_space``)."""

    strength: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSettings:
    """What is stored of the trunk (``babelclip.train.features``)."""

    engine: str  # "onnxruntime" or "openvino"
    block: int  # how many of its blocks stay frozen, below the stored maps
    size: int  # side in pixels of the images of the first image stages
    views: Views  # at that size
    final_views: Views  # at the model's own size, for the final stages
    threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecipe:
    """Budget and optimiser of a stage."""

    budget: Budget
    optim: OptimSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that a training run depends on but the data themselves."""

    seed: int
    threads: int
    model: ModelSettings
    data: DataSettings
    space: SpaceSettings
    features: FeatureSettings
    tokens: TokenSettings  # before all others: what the teacher makes of each token
    tokens_run: StageRecipe
    text: TextSettings  # every language to the teacher's English; a finished text tower begins here
    text_run: StageRecipe
    names: TextSettings  # a second text stage that dwells on the names of things
    names_run: StageRecipe
    likeness: LikenessSettings
    regions: ImageSettings  # thousands of quick steps on four regions' means; a finished image tower skips them
    regions_run: StageRecipe
    image: ImageSettings
    image_run: StageRecipe
    captions: CaptionSettings  # the text tower against the images as they then are
    captions_run: StageRecipe
    final: ImageSettings  # the images against the texts as they then are
    final_run: StageRecipe
    last: CaptionSettings  # and the captions against those once more
    last_run: StageRecipe
    centering: CenteringSettings  # of the finished image vectors
    folder: Path = Path()  # where the recipe lies


def find_recipe(name: str) -> Path:
    """A recipe by path, or by name one of the project's own: beside the package, or inside an installed one.

    Raises: ConfigError that lists the names.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).resolve().parents[1]
    homes = [home for home in (package / "recipes", package.parents[1] / "recipes") if home.is_dir()]
    files = {file.relative_to(home).with_suffix("").as_posix(): file for home in homes for file in home.rglob("*.toml")}
    known = sorted(set(files) - {SOURCES})
    if name in known:
        return files[name]
    raise ConfigError(f"no recipe {name!r}: it is neither a file nor one of {', '.join(known)}")


def read_recipe(path: Path) -> Recipe | ContrastRecipe:
    """Read and validate a recipe.

    Raises: ConfigError when the file is absent, is no TOML, has a key too many, too few, or of a wrong type, or when
    two fields contradict each other.
    """
    if not path.is_file():
        raise ConfigError(f"no recipe at {path}; the project's own are in recipes/")
    try:
        fields = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    if "folder" in fields:
        raise ConfigError(f"{path.name}: unknown folder")
    kind: type[Recipe] | type[ContrastRecipe] = ContrastRecipe if fields.get("kind") == "contrast" else Recipe
    return dataclasses.replace(build(kind, fields, path.name), folder=path.parent)


def build(kind: type[T], fields: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table, nested dataclasses from nested tables, lists as tuples."""
    assert dataclasses.is_dataclass(kind)
    known = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; known here: {', '.join(sorted(known))}")
    required = {
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(fields))
    if missing:
        raise ConfigError(f"{where}: missing {', '.join(missing)}")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in fields.items()}
    return kind(**values)


_PLAIN: Mapping[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    int | None: (int,),
    float | None: (int, float),
}


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, UnionType) and hint not in _PLAIN:
        hint = next(part for part in get_args(hint) if part is not type(None))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a table, found {value!r}")
        return build(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: expected one of {', '.join(map(repr, get_args(hint)))}, found {value!r}")
        return value
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        if not isinstance(value, list):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        return tuple(_value(get_args(hint)[0], one, f"{where}[{place}]") for place, one in enumerate(value))
    if hint in _PLAIN:
        kinds = _PLAIN[hint]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigError(f"{where}: expected {kinds[-1].__name__}, found {value!r}")
        return float(str(value)) if float in kinds else value
    return tuple(value) if isinstance(value, list) else value
