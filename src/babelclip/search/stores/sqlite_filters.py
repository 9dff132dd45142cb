"""Filters as SQLite's conditions over a JSON column.

No column has a type, so SQLite converts nothing: a number never equals a string that shows it.
"""

from __future__ import annotations

import json

from babelclip.errors import ConfigError
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range, Scalar

COLUMNS = ("kind", "path", "taken")
"""Fields that have a column of their own, with an index."""

Condition = tuple[str, list[Scalar]]
_LAST = "\U0010ffff"


def condition(where: Filter | None) -> Condition:
    """SQL and its parameters; a row for which it gives NULL does not pass."""
    match where:
        case None:
            return "1", []
        case Eq(field, value):
            return f"{column(field)} = ?", [value]
        case In(field, values):
            return f"{column(field)} IN (SELECT value FROM json_each(?))", [json.dumps(values)]
        case Range():
            return _range(where)
        case Prefix(field, start):
            end = after(start)
            test = f"{_typed(field, start)} AND {column(field)} >= ?"
            return (f"({test})", [start]) if end is None else (f"({test} AND {column(field)} < ?)", [start, end])
        case And(parts):
            return _joined(parts, " AND ", "1")
        case Or(parts):
            return _joined(parts, " OR ", "0")
        case Not(part):
            sql, parameters = condition(part)
            return f"NOT coalesce({sql}, 0)", parameters
    raise ConfigError(f"not a filter: {where!r}")


def column(field: str) -> str:
    """The expression of a field. Names of fields are letters, digits and _ (``check_field``), safe inside quotes."""
    return field if field in COLUMNS else f"json_extract(metadata, '$.\"{field}\"')"


def after(start: str) -> str | None:
    """The smallest string after all that begin with ``start``; None where there is no end."""
    kept = start.rstrip(_LAST)
    if not kept:
        return None
    last = ord(kept[-1])
    return kept[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # between the two lie the surrogates


def _range(where: Range) -> Condition:
    field, bounds = where.field, where.bounds
    tests = " AND ".join(f"{column(field)} {sign} ?" for sign, _ in bounds)
    return f"({_typed(field, bounds[0][1])} AND {tests})", [bound for _, bound in bounds]


def _typed(field: str, value: Scalar) -> str:
    """Strings sort after all numbers, so a bound of one type would let all of the other pass."""
    return f"typeof({column(field)}) {'=' if isinstance(value, str) else '!='} 'text'"


def _joined(parts: tuple[Filter, ...], word: str, nothing: str) -> Condition:
    compiled = [condition(part) for part in parts]
    joined = word.join(sql for sql, _ in compiled) or nothing
    return f"({joined})", [value for _, values in compiled for value in values]
