"""Conditions as people type them: ``camera=Pixel 8``, ``taken>=2024-06``, ``path^=/photos/2024/``, ``width<1000``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from babelclip.errors import ConfigError
from babelclip.search.fields import FIELDS
from babelclip.search.filters import And, Eq, Filter, In, Not, Prefix, Range, Scalar

_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*(!=|>=|\^=|=(?![=>])|<(?!=))\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def parse_where(conditions: Sequence[str]) -> Filter | None:
    """All conditions together; None for none.

    What is written is of the field's type where that is known; else what looks like a number is one, unless in double
    quotes.

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
        return Range(field, low=_typed(field, written))
    if sign == "<":
        return Range(field, high=_typed(field, written))
    values = tuple(_typed(field, part) for part in written.split("|"))
    same: Filter = Eq(field, values[0]) if len(values) == 1 else In(field, values)
    return Not(same) if sign == "!=" else same


def _typed(field: str, written: str) -> Scalar:
    known = FIELDS.get(field)
    if len(written) >= 2 and written[0] == written[-1] == '"':
        return written[1:-1]
    if (known is None or not known.is_text) and _NUMBER.fullmatch(written):
        return int(written) if re.fullmatch(r"[+-]?\d{1,20}", written) else float(written)
    return written
