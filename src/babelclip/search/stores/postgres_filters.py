"""Filters as PostgreSQL's conditions over a jsonb column. Values travel as parameters, never inside the statement."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from babelclip.errors import ConfigError
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range

_Condition = tuple[str, list[object]]


def postgres_condition(where: Filter | None) -> _Condition:
    """A boolean expression and its parameters; a row for which it gives NULL does not pass.

    Names of fields are letters, digits and _ (``check_field``), safe inside quotes.
    """
    match where:
        case None:
            return "true", []
        case Eq(field, value):
            return "metadata @> %s", [Jsonb({field: value})]
        case In(field, values):
            return f"metadata -> '{field}' = ANY(%s::jsonb[])", [[Jsonb(value) for value in values]]
        case Range():
            return _range(where)
        case Prefix(field, start):
            return f"({_is(field, 'string')} AND starts_with(metadata ->> '{field}', %s))", [start]
        case And(parts):
            return _joined(parts, " AND ", "true")
        case Or(parts):
            return _joined(parts, " OR ", "false")
        case Not(part):
            statement, parameters = postgres_condition(part)
            return f"NOT coalesce({statement}, false)", parameters
    raise ConfigError(f"not a filter: {where!r}")


def _is(field: str, kind: str) -> str:
    return f"jsonb_typeof(metadata -> '{field}') = '{kind}'"


def _range(where: Range) -> _Condition:
    """Strings compare byte by byte, which is by code points in UTF-8."""
    field, bounds = where.field, where.bounds
    is_text = isinstance(bounds[0][1], str)
    value = f"(metadata ->> '{field}')" + (' COLLATE "C"' if is_text else "::numeric")
    cast = "text" if is_text else "numeric"
    tests = " AND ".join(f"{value} {sign} %s::{cast}" for sign, _ in bounds)
    # CASE, because PostgreSQL is free to cast before it looks at the type.
    return f"CASE WHEN {_is(field, 'string' if is_text else 'number')} THEN {tests} END", [bound for _, bound in bounds]


def _joined(parts: tuple[Filter, ...], word: str, nothing: str) -> _Condition:
    compiled = [postgres_condition(part) for part in parts]
    joined = word.join(statement for statement, _ in compiled) or nothing
    return f"({joined})", [value for _, values in compiled for value in values]
