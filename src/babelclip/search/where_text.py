"""Filters as people type them: ``camera=Pixel 8``, ``taken>=2024-06``, ``path^=/photos/2024/``, ``width<1000``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from babelclip.errors import ConfigError
from babelclip.search.filters import And, Eq, Filter, In, Not, Prefix, Range, Scalar

_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*(!=|>=|\^=|=|<)\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """All conditions together; None for none. Values that look like numbers are numbers, unless in double quotes.

    Raises:
        ConfigError: it is none; the message shows the forms.
    """
    filters = [_condition(text) for text in conditions]
    return None if not filters else filters[0] if len(filters) == 1 else And(tuple(filters))


def _condition(text: str) -> Filter:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"no condition: {text!r}; the forms are field=value, field=one|another, field!=value, field>=value, "
            "field<value and field^=beginning"
        )
    field, sign, written = found.groups()
    if sign == "^=":
        return Prefix(field, written)
    if sign == ">=":
        return Range(field, low=_value(written))
    if sign == "<":
        return Range(field, high=_value(written))
    values = tuple(_value(part) for part in written.split("|"))
    same: Filter = Eq(field, values[0]) if len(values) == 1 else In(field, values)
    return Not(same) if sign == "!=" else same


def _value(written: str) -> Scalar:
    if len(written) >= 2 and written[0] == written[-1] == '"':
        return written[1:-1]
    if _NUMBER.fullmatch(written):
        return int(written) if re.fullmatch(r"[+-]?\d{1,18}", written) else float(written)
    return written
