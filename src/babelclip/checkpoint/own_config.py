"""Our own configuration files: the frozen dataclasses as JSON and back, strictly.

Every field is written; a field that is unknown, absent or of another type is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from babelclip.decode import decode, encode
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import DualConfig

MODEL_TYPE: Final = "babelclip"
_FORMAT = 1
"""Version of the folder. A reader refuses a folder of a later version than its own."""
FIRST_KIND: Final = "eva02"
"""Kind of an image tower whose table names none, as all did when there was no other: their files stay as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Content of preprocessing.json."""

    text: TextPrepareConfig
    image: ImagePrepareConfig | None


def config_to_json(name: str, config: DualConfig) -> dict[str, Any]:
    """Content of config.json."""
    content = {"model_type": MODEL_TYPE, "format": _FORMAT, "name": name, **encode(config)}
    if content["vision"] is not None and content["vision"]["kind"] == FIRST_KIND:
        del content["vision"]["kind"]
    return content


def config_from_json(data: Mapping[str, Any]) -> tuple[str, DualConfig]:
    """(name, configuration) from the content of config.json.

    Raises:
        ConfigError: an unknown, missing or ill-typed field, or a later format.
    """
    rest = dict(data)
    if rest.pop("model_type", None) != MODEL_TYPE:
        raise ConfigError(f'config.json: model_type must be "{MODEL_TYPE}"')
    version = rest.pop("format", None)
    if type(version) is not int or version != _FORMAT:
        raise ConfigError(f"config.json: format {version!r}, this babelclip reads format {_FORMAT}; update babelclip")
    name = rest.pop("name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError("config.json: name must be a text that is not empty")
    vision = rest.get("vision")
    if isinstance(vision, Mapping) and "kind" not in vision:
        rest["vision"] = {"kind": FIRST_KIND, **vision}
    return name, decode(DualConfig, rest, "config.json", require_all=True)


def preprocessing_to_json(text: TextPrepareConfig, image: ImagePrepareConfig | None) -> dict[str, Any]:
    """Content of preprocessing.json."""
    return encode(Preprocessing(text=text, image=image))


def preprocessing_from_json(data: Mapping[str, Any]) -> tuple[TextPrepareConfig, ImagePrepareConfig | None]:
    """Both preprocessing configurations from the content of preprocessing.json.

    Raises:
        ConfigError: an unknown, missing or ill-typed field.
    """
    found = decode(Preprocessing, data, "preprocessing.json", require_all=True)
    return found.text, found.image
