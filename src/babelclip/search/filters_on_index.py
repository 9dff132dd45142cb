"""What conditions mean for the rows that an index has: fields that none has, how many lack one, folders outside."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import ConfigError
from babelclip.search.fields import FIELDS, KINDS
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range
from babelclip.search.known_files import is_below
from babelclip.search.store import VectorStore
from babelclip.search.walk import path_text

_LOWEST = -(2.0**63)
_EVERYWHERE = frozenset({"kind", "path"})


@dataclass(frozen=True, slots=True)
class LackingField:
    """A field that is asked for, and rows that cannot be found by it because they do not have it."""

    field: str
    lacking: int
    rows: int  # of the kinds that are looked for

    def __str__(self) -> str:
        return f"{self.lacking:,} of {self.rows:,} have no {self.field!r}, so they are left out"


def has_field(field: str) -> Filter:
    """Rows that have a field."""
    known = FIELDS.get(field)
    if known is None:
        return Prefix(field, "") | Range(field, low=_LOWEST)
    return Prefix(field, "") if known.is_text else Range(field, low=_LOWEST)


def lacking_fields(store: VectorStore, where: Filter | None, kinds: Sequence[str] = KINDS) -> list[LackingField]:
    """How many rows lack a field of a condition, for each that some lack."""
    chosen: Filter = And(()) if set(kinds) >= set(KINDS) else In("kind", tuple(kinds))
    fields = sorted(set(_fields(where, wanted=True)) - _EVERYWHERE)
    if not fields:
        return []
    rows = store.count(chosen)
    counted = [LackingField(field, rows - store.count(chosen & has_field(field)), rows) for field in fields]
    return [each for each in counted if each.lacking]


def refuse_unknown_fields(store: VectorStore, where: Filter | None) -> None:
    """Look whether any row has the fields of a condition that no index writes.

    Raises:
        ConfigError: none of them has; it is mistyped.
    """
    for field in sorted(set(_fields(where)) - set(FIELDS)):
        if next(iter(store.known(has_field(field))), None) is None and next(iter(store.known()), None) is not None:
            near = difflib.get_close_matches(field, FIELDS, 1)
            hint = f"; was {near[0]!r} meant?" if near else "."
            raise ConfigError(f"nothing in the index has a field {field!r}{hint} Fields are {', '.join(FIELDS)}")


def refuse_unknown_folders(indexed: Iterable[str], folders: Iterable[Path]) -> None:
    """Look whether folders have to do with those that are indexed.

    Raises:
        ConfigError: one lies neither in one of them nor around one.
    """
    known = list(indexed)
    for folder in folders:
        text = path_text(folder)
        if known and not any(is_below(text, root) or is_below(root, text) for root in known):
            raise ConfigError(f"{text} is not indexed; folders that are: {', '.join(known)}")


def _fields(where: Filter | None, wanted: bool | None = None) -> Iterator[str]:
    """Fields of a condition; with ``wanted`` those alone that a row needs to have (True), or may lack (False)."""
    match where:
        case Eq(field) | In(field) | Range(field) | Prefix(field):
            if wanted is not False:
                yield field
        case And(parts) | Or(parts):
            for part in parts:
                yield from _fields(part, wanted)
        case Not(part):
            yield from _fields(part, None if wanted is None else not wanted)
