"""What the page was asked for: the query string, checked, and the hits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError
from babelclip.search.filters import And, Filter, Range, of_kind
from babelclip.search.index import KINDS, Hit, Index, below
from babelclip.search.query import Query

PAGE = 60
"""Hits that are shown at once."""
MOST = 3000
"""Hits that can be shown one page after the other."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search as its address spells it."""

    text: str = ""
    like: str = ""  # the id of a row: what is similar to it, where there is no text
    after: str = ""
    before: str = ""
    folder: str = ""
    kind: str = ""
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= MOST - PAGE:
            raise ConfigError(f"start must be from 0 to {MOST - PAGE}")
        if self.kind and self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}")
        for name, day in (("after", self.after), ("before", self.before)):
            if day and not (day[:4].isdigit() and len(day) <= 10):
                raise ConfigError(f"{name} must be a day, as 2024-06-30")

    @property
    def where(self) -> Filter | None:
        """All that a hit must fulfil."""
        parts: list[Filter] = []
        if self.after or self.before:
            parts.append(Range("taken", self.after or None, self.before or None))
        if self.folder:
            parts.append(below(Path(self.folder)))
        return And(tuple(parts)) if parts else None

    @property
    def kinds(self) -> Sequence[str]:
        """What is looked for."""
        return (self.kind,) if self.kind else KINDS


def find(index: Index, asked: Asked, image: bytes | None = None) -> list[Hit]:
    """The hits of a page, best first; where nothing is asked for, what is indexed, in no order.

    Raises:
        InputError: an image or text that cannot be embedded.
    """
    query = _query(index, asked, image)
    if query is None:
        return _some(index, asked)
    hits = index.search(query, asked.start + PAGE, asked.where, kinds=asked.kinds)
    return hits[asked.start :]


def _query(index: Index, asked: Asked, image: bytes | None) -> Query | Vectors | None:
    if image is not None:
        return Query.image(image)
    if asked.text.strip():
        return Query.parse(asked.text.split(), files=False)
    return _vector_of(index, asked.like) if asked.like else None


def _vector_of(index: Index, id: str) -> Vectors | None:
    store = index.store()
    row = None if store is None else store.get([id])[0]
    return None if row is None else row.vector


def _some(index: Index, asked: Asked) -> list[Hit]:
    store = index.store()
    if store is None:
        return []
    where = of_kind(asked.kind, asked.where) if asked.kind else asked.where
    shown = islice(store.known(where), asked.start, asked.start + PAGE)
    return [Hit.of(rank, row, float(np.nan)) for rank, row in enumerate(shown, start=asked.start + 1)]
