"""The one way from a table, as TOML and JSON give it, to a frozen dataclass, and back.

Strict: a key that the dataclass has not, a key that is missing, and a value of another type are errors that name the
place, what was expected and what was found. By hand because no library gives these messages for plain dataclasses
within the time that loading the core may take: msgspec takes unknown keys of a dataclass in silence, cattrs makes 3 of
"3", and pydantic takes some 70 ms to import, a quarter of what loading the bundled model takes.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from babelclip.errors import ConfigError

_T = TypeVar("_T")


def decode(kind: type[_T], table: Any, where: str, *, require_all: bool = False) -> _T:
    """The dataclass `kind` from a table, nested dataclasses from nested tables.

    Fields may be bool, int, float (an int is taken too), str, Path, ``X | None``, Literal, tuples of one type or of
    a fixed length (from lists), mappings whose keys are texts, other dataclasses, and unions of these. Of a union of
    dataclasses, the one is meant whose Literal field, common to all, holds the table's value.

    Args:
        where: what the table is, for messages: a file's name, perhaps with a path inside it.
        require_all: fields with defaults must be present too, at every depth.

    Raises:
        ConfigError: an unknown or missing key, a value of another type, or what the dataclass itself refuses.
    """
    return _Decoder(require_all).table(kind, table, where)


def decode_as(hint: Any, value: Any, where: str) -> Any:
    """As ``decode``, for any type that a field may have: ``decode_as(dict[str, tuple[str, ...]], parsed, name)``.

    Raises:
        ConfigError: as ``decode``.
    """
    return _Decoder(require_all=False).value(hint, value, where)


def read_toml(path: Path) -> dict[str, Any]:
    """The table that a TOML file holds.

    Raises:
        ConfigError: it is no TOML, not UTF-8, or so deep that it can only be meant to do harm.
        OSError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, lists without end
        raise ConfigError(f"{path} is not TOML in UTF-8: {error}") from None


def parse_json(content: str | bytes) -> Any:
    """What JSON of foreign origin holds.

    Raises:
        ValueError: it is no JSON, not UTF-8, or so deep that it can only be meant to do harm.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("its lists and tables are nested too deeply") from None


def encode(value: Any) -> dict[str, Any]:
    """A dataclass as a table of plain JSON values, with every field; `decode` reads it back.

    Raises:
        TypeError: JSON has no form for the value of a field.
    """
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return encode(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no form in JSON")


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A type hint and a plain value -> the typed value; each method says for which hints."""

    require_all: bool

    def table(self, kind: type[_T], table: Any, where: str) -> _T:
        if not isinstance(table, Mapping):
            raise _unlike("a table", table, where)
        key: Any = kind
        fields, hints = _fields(key)
        unknown = [str(name) for name in table if name not in fields]
        if unknown:
            raise ConfigError(f"{where}: unknown {', '.join(unknown)}; known here: {', '.join(fields)}")
        missing = [
            name for name, optional in fields.items() if name not in table and (self.require_all or not optional)
        ]
        if missing:
            found = ", ".join(map(str, table)) or "nothing"
            raise ConfigError(f"{where}: missing {', '.join(missing)}; found here: {found}")
        values = {name: self.value(hints[name], item, f"{where}: {name}") for name, item in table.items()}
        try:
            return kind(**values)
        except ConfigError as error:  # fields that contradict each other
            raise ConfigError(f"{where}: {error}") from error

    def value(self, hint: Any, value: Any, where: str) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is Any:
            return value
        if origin in (Union, types.UnionType):
            return self.union(arguments, value, where)
        if _is_table(hint):
            return self.table(hint, value, where)
        if origin is Literal:
            if not any(value == choice and type(value) is type(choice) for choice in arguments):
                raise _unlike(f"one of {', '.join(map(repr, arguments))}", value, where)
            return value
        if origin is tuple:
            return self.items(arguments, value, where)
        if origin is Sequence:
            return self.items((*arguments, Ellipsis), value, where)
        if origin in (Mapping, dict):
            if not isinstance(value, Mapping):
                raise _unlike("a table", value, where)
            return {
                self.value(arguments[0], name, f"{where}: key"): self.value(arguments[1], item, f"{where}: {name}")
                for name, item in value.items()
            }
        return _scalar(hint, value, where)

    def items(self, hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
        """A tuple, of one type (``tuple[X, ...]``) or of a fixed length."""
        if not isinstance(value, list | tuple):
            raise _unlike("a list", value, where)
        if hints[-1] is Ellipsis:
            hints = hints[:1] * len(value)
        if len(value) != len(hints):
            raise _unlike(f"a list of {len(hints)}", value, where)
        pairs = enumerate(zip(hints, value, strict=True))
        return tuple(self.value(hint, item, f"{where}[{index}]") for index, (hint, item) in pairs)

    def union(self, hints: Sequence[Any], value: Any, where: str) -> Any:
        if value is None and types.NoneType in hints:
            return None
        choices = [hint for hint in hints if hint is not types.NoneType]
        tables = [hint for hint in choices if _is_table(hint)]
        if len(tables) > 1 and (isinstance(value, Mapping) or len(tables) == len(choices)):
            return self.chosen(tables, value, where)
        if len(choices) == 1:
            return self.value(choices[0], value, where)
        if tables and isinstance(value, Mapping):
            return self.table(tables[0], value, where)
        for hint in choices:
            try:
                return self.value(hint, value, where)
            except ConfigError:
                continue
        raise _unlike(" or ".join(map(_shown, choices)), value, where)

    def chosen(self, kinds: Sequence[Any], value: Any, where: str) -> Any:
        """The dataclass whose Literal field, common to all of them, allows what the table says."""
        name, by_tag = _tags(kinds)
        tag = value.get(name) if isinstance(value, Mapping) else None
        if not isinstance(tag, str) or tag not in by_tag:
            raise _unlike(f"a table with {name} = {' or '.join(map(repr, by_tag))}", value, where)
        return self.table(by_tag[tag], value, where)


@cache  # type hints are evaluated from texts, which takes most of the time
def _fields(kind: Any) -> tuple[dict[str, bool], dict[str, Any]]:
    """Of a dataclass: name -> whether it has a default, and name -> type, in the order of declaration."""
    fields = {
        field.name: field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(kind)
    }
    return fields, get_type_hints(kind)


def _tags(kinds: Sequence[Any]) -> tuple[str, dict[str, type[Any]]]:
    """The field that tells dataclasses apart, and value -> dataclass."""
    hints = [_fields(kind)[1] for kind in kinds]
    for name in hints[0]:
        if all(get_origin(each.get(name)) is Literal for each in hints):
            pairs = zip(kinds, hints, strict=True)
            return name, {tag: kind for kind, each in pairs for tag in get_args(each[name])}
    raise TypeError(f"no Literal field tells {', '.join(kind.__name__ for kind in kinds)} apart")


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _unlike(_shown(hint), value, where) from None
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _unlike(_shown(hint), value, where)
    return value


_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


def _is_table(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint)


def _shown(hint: Any) -> str:
    if _is_table(hint):
        return "a table"
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    if get_origin(hint) is tuple:
        return "a list"
    return _WORDS.get(hint) or str(hint)


def _unlike(expected: str, value: Any, where: str) -> ConfigError:
    try:
        found = repr(value)
    except ValueError:  # a number of thousands of digits
        found = f"a {type(value).__name__}"
    return ConfigError(f"{where}: expected {expected}, found {found if len(found) <= 200 else found[:200] + '...'}")
