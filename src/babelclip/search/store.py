"""What keeps vectors, whatever database it is: one small protocol, and the suite in ``tests/contracts`` that all pass.

A ``Database`` is what a URL names: notes (small texts by name) and stores by name. A ``VectorStore`` holds rows of one
width. An index keeps its vectors in one store and, while it is embedded anew, fills a second one beside it; which of
them answers is a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError
from babelclip.search.filters import Filter, Metadata, check_metadata

ROUNDING = 3e-3
"""How far from one the length of a 16-bit vector may be."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a store keeps of one thing."""

    id: str
    kind: str  # rows of a kind are centered together; filters see it as the field "kind"
    vector: Vectors  # (E,), of length one
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Known:
    """A row without its vector."""

    id: str
    kind: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Scored:
    """A row that was found: its cosine with the query."""

    id: str
    kind: str
    metadata: Metadata
    score: float


class VectorStore(Protocol):
    """Rows of one width by id. Threads may share one."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    def upsert(self, rows: Sequence[Row]) -> None:
        """Put rows in, each in the place of one with its id. They are kept when this returns; all of them or none."""
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Take rows out; ids that are not there are no error. All of them or none."""
        ...

    def query(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Scored]:
        """The ``k`` rows of the highest cosine with ``vector`` (E,) among those that pass, best first."""
        ...

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        """Rows by id, in order; None for those that are not there."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """How many rows pass."""
        ...

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        """All rows that pass, without their vectors, in no order."""
        ...

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        """All rows that pass, in no order."""
        ...

    def verify(self) -> list[str]:
        """What is wrong with the stored rows, in words; nothing where all is well."""
        ...

    def compact(self) -> None:
        """Give back space and bring what is derived from the rows up to date."""
        ...


class Database(Protocol):
    """What a URL names. Close it, or use it in a ``with``."""

    @property
    def url(self) -> str:
        """By which it is opened; without a password."""
        ...

    def stores(self) -> list[str]:
        """Names of the stores in it."""
        ...

    def open(self, name: str) -> VectorStore:
        """A store by its name.

        Raises:
            StoreError: there is no such store.
        """
        ...

    def create(self, name: str, dim: int) -> VectorStore:
        """A new, empty store.

        Raises:
            StoreError: there is one of this name.
        """
        ...

    def drop(self, name: str) -> None:
        """Forget a store and all of its rows; no error where there is none."""
        ...

    def notes(self) -> dict[str, str]:
        """All notes."""
        ...

    def note(self, changes: Mapping[str, str | None]) -> None:
        """Write notes, or take them away (None); all of them or none where the database can."""
        ...

    def erase(self) -> None:
        """Take away everything that this database keeps, and close it."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def check_rows(rows: Sequence[Row], dim: int) -> None:
    """What every store refuses before it writes.

    Raises:
        ConfigError: what is wrong, and of which row.
    """
    seen: set[str] = set()
    for row in rows:
        if not row.id or row.id in seen:
            raise ConfigError(f"the rows of one upsert need ids of their own, found {row.id!r} twice or empty")
        seen.add(row.id)
        if row.vector.shape != (dim,):
            raise ConfigError(f"row {row.id!r}: the store holds vectors of width {dim}, found {row.vector.shape}")
        if not abs(float(np.linalg.norm(row.vector)) - 1.0) < 1e-3:  # NaN fails too
            raise ConfigError(f"row {row.id!r}: expected a vector of length one")
        check_metadata({**row.metadata, "kind": row.kind})
        if "kind" in row.metadata:
            raise ConfigError(f"row {row.id!r}: its kind stands beside its metadata, not in it")


def check_query(vector: Vectors, k: int, dim: int) -> Vectors:
    """The query, of length one.

    Raises:
        ConfigError: it has another width, or is not finite.
    """
    if vector.shape != (dim,):
        raise ConfigError(f"the store holds vectors of width {dim}, the query has {vector.shape}")
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise ConfigError("the query's vector is zero or not finite")
    if k < 1:
        raise ConfigError(f"k must be at least 1, found {k}")
    return (vector / norm).astype(np.float32)


def is_damaged(vector: Vectors) -> bool:
    """Whether a vector, as 16 bits keep it, is no longer of length one."""
    return not abs(float(np.linalg.norm(vector)) - 1) < ROUNDING  # NaN fails too


def damaged(rows: Iterable[Row]) -> list[str]:
    """Rows whose vector is damaged, in words."""
    return [f"row {row.id!r}: its vector is damaged" for row in rows if is_damaged(row.vector)]


def visible(row: Row | Known) -> Metadata:
    """The fields that filters see."""
    return {**row.metadata, "kind": row.kind}
