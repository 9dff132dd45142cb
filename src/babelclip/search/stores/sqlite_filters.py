"""Filters as SQLite's conditions over a JSON column.

No column has a type, so SQLite converts nothing: a number never equals a string that shows it.
"""

from __future__ import annotations

import json

from babelclip.errors import ConfigError
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range, Scalar

_COLUMNS = ("kind", "path", "taken")
"""Fields that have a column of their own, with an index."""

_Condition = tuple[str, list[Scalar]]
_LAST = "\U0010ffff"


def sqlite_condition(where: Filter | None) -> _Condition:
    """SQL and its parameters; a row for which it gives NULL does not pass."""
    match where:
        case None:
            return "1", []
        case Eq(field, value):
            return f"{_column(field)} = ?", [value]
        case In(field, values):
            return f"{_column(field)} IN (SELECT value FROM json_each(?))", [json.dumps(values)]
        case Range():
            return _range(where)
        case Prefix(field, start):
            end = after(start)
            test, typed = f"{_column(field)} >= ?", _typed(field, start)  # what is cheap and rejects most comes first
            if end is None:
                return f"({test} AND {typed})", [start]
            return f"({test} AND {_column(field)} < ? AND {typed})", [start, end]
        case And(parts):
            return _joined(parts, " AND ", "1")
        case Or(parts):
            return _joined(parts, " OR ", "0")
        case Not(part):
            sql, parameters = sqlite_condition(part)
            return f"NOT coalesce({sql}, 0)", parameters
    raise ConfigError(f"not a filter: {where!r}")


def columns_read(where: Filter | None) -> frozenset[str]:
    """The columns that a filter's condition reads."""
    match where:
        case None:
            return frozenset()
        case And(parts) | Or(parts):
            return frozenset().union(*map(columns_read, parts))
        case Not(part):
            return columns_read(part)
        case Eq(field) | In(field) | Range(field) | Prefix(field):
            return frozenset({field if field in _COLUMNS else "metadata"})
    raise ConfigError(f"not a filter: {where!r}")


def _column(field: str) -> str:
    """The expression of a field. Names of fields are letters, digits and _ (``check_field``), safe inside quotes."""
    return field if field in _COLUMNS else f"json_extract(metadata, '$.\"{field}\"')"


def after(start: str) -> str | None:
    """The smallest string after all that begin with ``start``; None where there is no end."""
    kept = start.rstrip(_LAST)
    if not kept:
        return None
    last = ord(kept[-1])
    return kept[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # between the two lie the surrogates


def _range(where: Range) -> _Condition:
    field, bounds = where.field, where.bounds
    tests = " AND ".join(f"{_column(field)} {sign} ?" for sign, _ in bounds)
    return f"({tests} AND {_typed(field, bounds[0][1])})", [bound for _, bound in bounds]


def _typed(field: str, value: Scalar) -> str:
    """Strings sort after all numbers, so a bound of one type would let all of the other pass."""
    return f"typeof({_column(field)}) {'=' if isinstance(value, str) else '!='} 'text'"


def _joined(parts: tuple[Filter, ...], word: str, nothing: str) -> _Condition:
    compiled = [sqlite_condition(part) for part in parts]
    joined = word.join(sql for sql, _ in compiled) or nothing
    return f"({joined})", [value for _, values in compiled for value in values]
