"""Which rows a search may find: a small tree of conditions on metadata, the same for every store.

    Eq("camera", "Pixel 8") | In("kind", ("image", "page"))
    Range("taken", "2024-01-01", "2025-01-01") & Prefix("path", "/photos/") & ~Eq("camera", "scanner")

A condition on a field that a row does not have, or has in another type (a number where a string is asked for), does
not hold; its negation does. A condition that no row can fulfill is refused when it is made: a range whose end comes
first, or a value that a field of an index can never have (``fields``). Each store compiles the tree into its own
language; ``matches`` is what all mean. ``parse_filters`` reads what people type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from babelclip.errors import ConfigError
from babelclip.search.fields import FIELDS, wrong_range

Scalar = str | int | float
"""What a field of metadata may be. No booleans: stores disagree whether true is one."""
Metadata = Mapping[str, Scalar]

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LARGEST = 2**63


class Filter:
    """A condition on a row; combine conditions with ``&``, ``|`` and ``~``."""

    def __and__(self, other: Filter) -> Filter:
        return And((self, other))

    def __or__(self, other: Filter) -> Filter:
        return Or((self, other))

    def __invert__(self) -> Filter:
        return Not(self)


@dataclass(frozen=True, slots=True)
class Eq(Filter):
    """The field has this value."""

    field: str
    value: Scalar

    def __post_init__(self) -> None:
        check_field(self.field)
        check_value(self.field, self.value)


@dataclass(frozen=True, slots=True)
class In(Filter):
    """The field has one of these values; of none, no row does."""

    field: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        check_field(self.field)
        if not isinstance(self.values, tuple):
            raise ConfigError(f"In({self.field!r}, ...) takes a tuple of values, found {type(self.values).__name__}")
        for value in self.values:
            check_value(self.field, value)


@dataclass(frozen=True, slots=True)
class Range(Filter):
    """``low <= field < high``; a bound that is None is open. Strings compare by code points."""

    field: str
    low: Scalar | None = None
    high: Scalar | None = None

    def __post_init__(self) -> None:
        check_field(self.field)
        values = [bound for _, bound in self.bounds]
        for bound in values:
            check_scalar(self.field, bound)
        if not values or len({isinstance(bound, str) for bound in values}) > 1:
            raise ConfigError(f"Range({self.field!r}, ...) takes one or two bounds of one type, found {values}")
        _refuse(self.field, wrong_range(self.field, self.low, self.high))

    @property
    def bounds(self) -> list[tuple[str, Scalar]]:
        """The bounds that there are, each with its sign."""
        return [(sign, bound) for sign, bound in ((">=", self.low), ("<", self.high)) if bound is not None]


@dataclass(frozen=True, slots=True)
class Prefix(Filter):
    """The field is a string that begins like this."""

    field: str
    start: str

    def __post_init__(self) -> None:
        check_field(self.field)
        if not isinstance(self.start, str):
            raise ConfigError(f"Prefix({self.field!r}, ...) takes a string, found {type(self.start).__name__}")
        check_scalar(self.field, self.start)
        known = FIELDS.get(self.field)
        _refuse(self.field, None if known is None else known.wrong_start(self.start))


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All hold; of none, always."""

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts)
        together: dict[str, Range] = {}
        for each in _ranges(self):
            before = together.setdefault(each.field, each)
            if before is not each:
                together[each.field] = _narrower(before, each)


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """At least one holds; of none, never."""

    parts: tuple[Filter, ...]

    def __post_init__(self) -> None:
        _check_parts(self.parts)


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """It does not hold."""

    part: Filter

    def __post_init__(self) -> None:
        _check_parts((self.part,))


def _check_parts(parts: object) -> None:
    if not isinstance(parts, tuple) or not all(isinstance(part, Filter) for part in parts):
        raise ConfigError(f"filters are put together from filters, found {parts!r:.200}")


def _ranges(where: And) -> Iterator[Range]:
    """The ranges that must all hold."""
    for part in where.parts:
        if isinstance(part, And):
            yield from _ranges(part)
        elif isinstance(part, Range):
            yield part


def _narrower(one: Range, other: Range) -> Range:
    """Where two ranges of a field overlap.

    Raises:
        ConfigError: nowhere.
    """
    known, bounds = FIELDS.get(one.field), one.bounds + other.bounds
    if len({isinstance(bound, str) for _, bound in bounds}) > 1:
        raise ConfigError(f"{one.field}: no value is both a text and a number, found {one} and {other}")

    def place(bound: Scalar) -> Any:
        return bound if known is None else known.place(bound)

    lows = [each.low for each in (one, other) if each.low is not None]
    highs = [each.high for each in (one, other) if each.high is not None]
    return Range(one.field, max(lows, key=place, default=None), min(highs, key=place, default=None))


def check_field(name: object) -> str:
    """The name of a field of metadata.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(name, str) or not _FIELD.fullmatch(name):
        raise ConfigError(f"a field of metadata is named by letters, digits and _, at most 63 of them: found {name!r}")
    return name


def check_scalar(field: str, value: object) -> Scalar:
    """A value of metadata.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"{field} takes a string or a number, found {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{field} takes finite numbers, found {value}")
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ConfigError(f"{field} takes whole numbers of 64 bits, found {value}")
    if isinstance(value, str) and ("\x00" in value or not _is_unicode(value)):
        raise ConfigError(f"{field} takes text of Unicode without NUL, found {value!a:.100}")
    return value


def check_value(field: str, value: object) -> Scalar:
    """A value that rows can have in a field.

    Raises:
        ConfigError: none can.
    """
    checked, known = check_scalar(field, value), FIELDS.get(field)
    _refuse(field, None if known is None else known.wrong_value(checked))
    return checked


def _refuse(field: str, problem: str | None) -> None:
    if problem is not None:
        raise ConfigError(f"{field}: {problem}")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Look at names and values.

    Raises:
        ConfigError: a name or value that no store could keep.
    """
    for field, value in metadata.items():
        check_scalar(check_field(field), value)
        known = FIELDS.get(field)
        if known is not None and isinstance(value, str) != known.is_text:
            raise ConfigError(f"{field} takes {'a text' if known.is_text else 'a number'}, found {value!r}")


def of_kind(kind: str, where: Filter | None = None) -> Filter:
    """Rows of a kind that pass."""
    return Eq("kind", kind) if where is None else And((Eq("kind", kind), where))


def matches(where: Filter | None, metadata: Metadata) -> bool:
    """Whether a row passes: the meaning that all stores share."""
    match where:
        case None:
            return True
        case Eq(field, value):
            return _same(metadata.get(field), value)
        case In(field, values):
            return any(_same(metadata.get(field), value) for value in values)
        case Range(field, low, high):
            return _within(metadata.get(field), low, high)
        case Prefix(field, start):
            found = metadata.get(field)
            return isinstance(found, str) and found.startswith(start)
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
    raise ConfigError(f"not a filter: {where!r}")


def _same(found: Scalar | None, value: Scalar) -> bool:
    return found is not None and isinstance(found, str) == isinstance(value, str) and found == value


def _within(found: Scalar | None, low: Scalar | None, high: Scalar | None) -> bool:
    bound = low if low is not None else high
    if found is None or isinstance(found, str) != isinstance(bound, str):
        return False
    if isinstance(found, str):
        return (low is None or found >= str(low)) and (high is None or found < str(high))
    return (low is None or found >= low) and (high is None or found < high)  # type: ignore[operator]


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which no database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
