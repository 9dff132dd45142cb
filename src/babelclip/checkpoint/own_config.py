"""Our own configuration files: the frozen dataclasses as JSON and back, strictly.

Every field is written; a field that is unknown, absent or of another type is an error that names it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import ConvTrunkConfig, DualConfig, LinearPatchesConfig

MODEL_TYPE: Final = "babelclip"
FORMAT = 1
"""Version of the folder. A reader refuses a folder of a later version than its own."""

_KINDS: dict[type[Any], str] = {LinearPatchesConfig: "linear", ConvTrunkConfig: "conv_trunk"}
"""Value of "kind" where a field may hold one of several configurations."""


def config_to_json(name: str, config: DualConfig) -> dict[str, Any]:
    """Content of config.json."""
    return {"model_type": MODEL_TYPE, "format": FORMAT, "name": name, **_encode(config)}


def config_from_json(data: Mapping[str, Any]) -> tuple[str, DualConfig]:
    """(name, configuration) from the content of config.json.

    Raises:
        ConfigError: an unknown, missing or ill-typed field, or a later format.
    """
    rest = dict(data)
    if rest.pop("model_type", None) != MODEL_TYPE:
        raise ConfigError(f'config.json: model_type must be "{MODEL_TYPE}"')
    version = rest.pop("format", None)
    if version != FORMAT:
        raise ConfigError(f"config.json: format {version!r}, this babelclip reads format {FORMAT}; update babelclip")
    name = rest.pop("name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError("config.json: name must be a text that is not empty")
    config: DualConfig = _decode(DualConfig, rest, "config.json")
    return name, config


def preprocessing_to_json(text: TextPrepareConfig, image: ImagePrepareConfig | None) -> dict[str, Any]:
    """Content of preprocessing.json."""
    return {"text": _encode(text), "image": None if image is None else _encode(image)}


def preprocessing_from_json(data: Mapping[str, Any]) -> tuple[TextPrepareConfig, ImagePrepareConfig | None]:
    """Both preprocessing configurations from the content of preprocessing.json.

    Raises:
        ConfigError: an unknown, missing or ill-typed field.
    """
    if set(data) != {"text", "image"}:
        raise ConfigError(f'preprocessing.json: expected the keys "text" and "image", found {sorted(data)}')
    text: TextPrepareConfig = _decode(TextPrepareConfig, data["text"], "preprocessing.json: text")
    image = _decode(ImagePrepareConfig | None, data["image"], "preprocessing.json: image")
    return text, image


# ---------------------------------------------------------------- dataclass <-> JSON


def _encode(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": _KINDS[type(value)]} if type(value) in _KINDS else {}
        return kind | {field.name: _encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


def _decode(hint: Any, value: Any, where: str) -> Any:
    """`value` from JSON as the type that `hint` names."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(hint), value, where)
    if is_dataclass(hint):
        return _decode_dataclass(hint, value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: {value!r} is none of {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is tuple:
        return _decode_tuple(get_args(hint), value, where)
    if origin is Mapping:
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise ConfigError(f"{where}: expected an object of texts, found {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _decode_union(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """A type or None, or one of the configurations that "kind" tells apart."""
    if value is None and type(None) in hints:
        return None
    choices = [hint for hint in hints if hint is not type(None)]
    if len(choices) == 1:
        return _decode(choices[0], value, where)
    kinds = {_KINDS[choice]: choice for choice in choices}
    if not isinstance(value, dict) or value.get("kind") not in kinds:
        raise ConfigError(f'{where}: expected an object with "kind", one of {", ".join(kinds)}; found {value!r}')
    return _decode(kinds[value["kind"]], {key: item for key, item in value.items() if key != "kind"}, where)


def _decode_dataclass(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected an object, found {value!r}")
    known = {field.name: field for field in fields(cls)}
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ConfigError(f"{where}: unknown option {', '.join(unknown)}; known are {', '.join(known)}")
    required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if required - set(value):
        raise ConfigError(f"{where}: {', '.join(sorted(required - set(value)))} missing")
    hints = get_type_hints(cls)
    return cls(**{name: _decode(hints[name], item, f"{where}: {name}") for name, item in value.items()})


def _decode_tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}: expected a list, found {value!r}")
    if hints[-1] is Ellipsis:
        return tuple(_decode(hints[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(hints):
        raise ConfigError(f"{where}: expected {len(hints)} values, found {len(value)}")
    return tuple(_decode(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True)))
