"""The fields that an index itself writes, each with what a value of it can be.

A condition that no such value can fulfill (``taken`` from the day "2024-6" on, a width of "wide") finds nothing, which
looks like an answer. Conditions ask here when they are made, so that every way to one refuses the same. Fields of other
names are their makers'; nothing is known of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

KINDS = ("image", "page", "text")
"""What an index holds: photos, pages of documents, pieces of texts."""

_Value = str | int | float
_MOMENT = re.compile(
    r"\d{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01])(?:T(?:[01]\d|2[0-3])(?::[0-5]\d(?::[0-5]\d)?)?)?)?)?"
)
_FIRST = "0001-01-01T00:00:00"
"""The first moment there is; its end makes a whole moment of the beginning of one."""
_ABSOLUTE = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")


class FieldType(Protocol):
    """What the values of a field are like. Each question is answered by what is wrong, or by None."""

    is_text: bool

    def wrong_value(self, value: _Value) -> str | None:
        """Why no row can have this value."""
        ...

    def wrong_bound(self, bound: _Value) -> str | None:
        """Why rows cannot be compared with this bound."""
        ...

    def wrong_start(self, start: str) -> str | None:
        """Why no value begins like this."""
        ...

    def place(self, bound: _Value) -> _Value:
        """A bound as bounds of this field are compared with each other."""
        ...


@dataclass(frozen=True, slots=True)
class NumberField:
    """Numbers between two others."""

    low: float
    high: float = float("inf")
    whole: bool = True
    is_text = False

    def wrong_value(self, value: _Value) -> str | None:
        if isinstance(value, str):
            return f"takes a number, found the text {value!r}"
        if self.whole and value != int(value):
            return f"takes whole numbers, found {value}"
        return None if self.low <= value <= self.high else f"lies {self._span()}, found {value}"

    def wrong_bound(self, bound: _Value) -> str | None:
        return f"takes a number, found the text {bound!r}" if isinstance(bound, str) else None

    def wrong_start(self, start: str) -> str | None:
        return f"is a number and has no beginning {start!r}; compare it with >= and <"

    def place(self, bound: _Value) -> _Value:
        return bound

    def wrong_span(self, low: _Value | None, high: _Value | None) -> str | None:
        """Why no number of this field lies in a range."""
        beyond = (low is not None and float(low) > self.high) or (high is not None and float(high) <= self.low)
        if beyond:
            return f"lies {self._span()}, so nothing lies from {low} on and before {high}"
        between = self.whole and low is not None and high is not None and math.ceil(float(low)) >= float(high)
        return f"takes whole numbers; none lies from {low} on and before {high}" if between else None

    def _span(self) -> str:
        return f"from {self.low:g} on" if self.high == float("inf") else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class TextField:
    """Texts, of which none is empty."""

    is_path: bool = False
    is_text = True

    def wrong_value(self, value: _Value) -> str | None:
        if not isinstance(value, str):
            return f"takes a text, found the number {value}"
        return "is nowhere an empty text" if not value else self._wrong_path(value)

    def wrong_bound(self, bound: _Value) -> str | None:
        return None if isinstance(bound, str) else f"takes a text, found the number {bound}"

    def wrong_start(self, start: str) -> str | None:
        return self._wrong_path(start) if start else None

    def place(self, bound: _Value) -> _Value:
        return bound

    def _wrong_path(self, value: str) -> str | None:
        relative = self.is_path and not _ABSOLUTE.match(value)
        return f"holds whole paths, from / on: found {value!r}" if relative else None


@dataclass(frozen=True, slots=True)
class KindField:
    """One of the kinds of things that an index holds."""

    is_text = True

    def wrong_value(self, value: _Value) -> str | None:
        return None if value in KINDS else f"is one of {', '.join(KINDS)}: found {value!r}"

    def wrong_bound(self, bound: _Value) -> str | None:
        return "has no order; name the kinds that count"

    def wrong_start(self, start: str) -> str | None:
        begins = any(kind.startswith(start) for kind in KINDS)
        return None if begins else f"is one of {', '.join(KINDS)}: none begins with {start!r}"

    def place(self, bound: _Value) -> _Value:
        return bound


@dataclass(frozen=True, slots=True)
class MomentField:
    """Moments as ISO 8601 writes them, YYYY-MM-DDTHH:MM:SS; a bound may be the beginning of one: a year or a day."""

    zone: str = ""
    is_text = True

    def wrong_value(self, value: _Value) -> str | None:
        problem = self.wrong_bound(value)
        if problem is None and len(str(value)) != len(_FIRST + self.zone):
            return f"is a moment to the second, so none is {value!r}: ask what begins so (^=), or compare with >= and <"
        return problem

    def wrong_bound(self, bound: _Value) -> str | None:
        forms = "expected a day as 2024, 2024-06 or 2024-06-30, or a moment as 2024-06-30T18:05"
        if not isinstance(bound, str):
            return f"{forms}, found the number {bound}"
        bare = bound.removesuffix(self.zone) if self.zone and len(bound) == len(_FIRST) + 1 else bound
        if not _MOMENT.fullmatch(bare):
            return f"{forms}, found {bound!r}"
        try:
            datetime.fromisoformat(_whole(bare))
        except ValueError as error:
            return f"{forms}, found {bound!r}: {error}"
        return None

    def wrong_start(self, start: str) -> str | None:
        bare = start.removesuffix(self.zone) if self.zone else start
        begins = len(bare) <= len(_FIRST) and _MOMENT.fullmatch(_whole(bare))
        return None if begins else f"expected the beginning of a moment as 2024-06-30T18:05:09, found {start!r}"

    def place(self, bound: _Value) -> _Value:
        return _whole(str(bound))


def _whole(start: str) -> str:
    """The first moment that begins like this."""
    return start + _FIRST[len(start) :]


FIELDS: Mapping[str, FieldType] = {
    "kind": KindField(),
    "path": TextField(is_path=True),
    "path_bytes": TextField(),
    "name": TextField(),
    "digest": TextField(),
    "text": TextField(),
    "camera": TextField(),
    "taken": MomentField(),
    "modified": MomentField(zone="Z"),
    "size": NumberField(0),
    "mtime_ns": NumberField(float("-inf")),
    "parts": NumberField(1),
    "page": NumberField(1),
    "width": NumberField(1),
    "height": NumberField(1),
    "turned": NumberField(2, 8),
    "damaged": NumberField(1, 1),
    "latitude": NumberField(-90, 90, whole=False),
    "longitude": NumberField(-180, 180, whole=False),
}
"""Fields of an index's rows."""


def wrong_range(field: str, low: _Value | None, high: _Value | None) -> str | None:
    """Why no row can lie in a range; None where one can."""
    known = FIELDS.get(field)
    if known is not None:
        for bound in (low, high):
            problem = None if bound is None else known.wrong_bound(bound)
            if problem:
                return problem
        if isinstance(known, NumberField) and (problem := known.wrong_span(low, high)):
            return problem
    if low is not None and high is not None:
        first, last = (low, high) if known is None else (known.place(low), known.place(high))
        if first >= last:  # type: ignore[operator]
            return f"nothing lies from {low!r} on and before {high!r}: the first bound has to be the lower one"
    return None
