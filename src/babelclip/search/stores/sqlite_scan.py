"""The codes of a SQLite store in memory: kept up to date with the file, masked by filters, scanned for candidates."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.errors import StoreError
from babelclip.search.filters import Eq, Filter
from babelclip.search.quantized_codes import CodedQuery, PackedBits, Rotation, best_indices, sums_of_levels
from babelclip.search.stores.sqlite_blocks import check_columns
from babelclip.search.stores.sqlite_codes import Codes
from babelclip.search.stores.sqlite_filters import columns_read, sqlite_condition
from babelclip.search.stores.sqlite_seals import Damaged, check_total, code_seals

RESCORED = 1000
"""Candidates of each kind that are compared exactly; where no more rows pass, the answer is exact."""
PER_WANTED = 20
"""... and so many for each row that is wanted, where that is more."""
MASKS = 32
"""Filters whose rows are remembered until the next write."""
THREADS = min(4, os.cpu_count() or 1)
NO_KIND = -1


@dataclass(frozen=True, slots=True)
class View:
    """What was in the store at one moment, and which of it passes."""

    rows: NDArray[np.int64]  # (N,) ascending
    kinds: NDArray[np.int16]  # (N,) places in ``names``
    names: tuple[str, ...]
    columns: PackedBits  # (W, N)
    sums: NDArray[np.int16]  # (N,) of levels
    rotation: Rotation
    seals: NDArray[np.int64]  # (N,)
    changes: int = 0  # writes that it has seen
    passing: NDArray[np.bool_] | None = None  # (N,); None: all

    def candidates(self, query: Vectors, k: int) -> NDArray[np.int64]:
        """Numbers of rows among which the ``k`` best are, ascending."""
        max_candidates = max(RESCORED, PER_WANTED * k)
        coded = CodedQuery(self.rotation @ query[: len(self.rotation)])
        found = []
        for code in range(len(self.names)):
            indices = self._of_kind(code)
            if len(indices) > max_candidates:
                every = len(indices) == len(self.rows)
                columns = self.columns if every else self.columns[:, indices]
                sums = self.sums if every else self.sums[indices]
                indices = indices[best_indices(coded.scores(columns, sums, THREADS), max_candidates)]
            found.append(indices)
        together = np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
        return self.rows[together]

    def _of_kind(self, code: int) -> NDArray[np.int64]:
        """Places of the rows of a kind that pass."""
        chosen = self.kinds == code
        return np.flatnonzero(chosen if self.passing is None else chosen & self.passing)


@dataclass(slots=True)
class _Loaded:
    changes: int
    epoch: int
    last_gone: int
    view: View
    masks: dict[Filter, NDArray[np.bool_]] = field(default_factory=dict)


class Scan:
    """Gives views. The caller holds the database's lock."""

    def __init__(self, number: int, codes: Codes) -> None:
        self._n, self._codes = number, codes
        self._loaded: _Loaded | None = None
        self._checked: frozenset[str] = frozenset()  # columns of all rows that have been looked at, as filters need

    def view(self, cursor: sqlite3.Cursor, where: Filter | None) -> View:
        """The store as it is now, and the rows that pass.

        Raises:
            StoreError: the store is gone.
        """
        cursor.execute("BEGIN")  # one moment for all that is read
        try:
            loaded = self._up_to_date(cursor)
            if where is None:
                return loaded.view
            passing = loaded.masks.get(where)
            if passing is None:
                passing = self._passing(cursor, loaded.view, where)
                if len(loaded.masks) >= MASKS:
                    loaded.masks.pop(next(iter(loaded.masks)))
                loaded.masks[where] = passing
            return replace(loaded.view, passing=passing)
        finally:
            cursor.execute("COMMIT")

    def _up_to_date(self, cursor: sqlite3.Cursor) -> _Loaded:
        found = cursor.execute("SELECT changes, epoch FROM stores WHERE number = ?", (self._n,)).fetchone()
        if found is None:
            raise StoreError("the store has been dropped since it was opened: open it again")
        changes, epoch = found
        old = self._loaded
        if old is not None and old.changes == changes:
            return old
        before, last_gone = (self._nothing(), 0) if old is None or old.epoch != epoch else (old.view, old.last_gone)
        gone = cursor.execute(f"SELECT place, row FROM gone_{self._n} WHERE place > ?", (last_gone,)).fetchall()
        view = replace(self._grown(cursor, _without(before, [row for _, row in gone])), changes=changes)
        if self._codes.sealed:
            check_total(cursor, f"codes_{self._n}", len(view.rows), int(view.seals.sum()))
        self._loaded = _Loaded(changes, epoch, max((index for index, _ in gone), default=last_gone), view)
        return self._loaded

    def check_rows_once(self, cursor: sqlite3.Cursor, where: Filter | None) -> None:
        """Look at what a filter reads of all rows, once for each opened store.

        Raises:
            Damaged: a value is another, or a row lost.
        """
        columns = columns_read(where) - self._checked
        if self._codes.sealed and columns:
            check_columns(cursor, self._n, columns)
            self._checked |= columns

    def check_codes(self, cursor: sqlite3.Cursor) -> None:
        """Look at all codes, whatever has been read before.

        Raises:
            Damaged: one is another, or lost.
        """
        view = self._grown(cursor, self._nothing())
        check_total(cursor, f"codes_{self._n}", len(view.rows), int(view.seals.sum()))

    def _nothing(self) -> View:
        return View(
            rows=np.empty(0, np.int64),
            kinds=np.empty(0, np.int16),
            names=(),
            columns=np.empty((self._codes.words, 0), np.uint64),
            sums=np.empty(0, np.int16),
            rotation=self._codes.rotation,
            seals=np.empty(0, np.int64),
        )

    def _grown(self, cursor: sqlite3.Cursor, before: View) -> View:
        """With the rows that came after those of ``before``."""
        last = int(before.rows[-1]) if len(before.rows) else 0
        sealed = self._codes.sealed
        columns = f"row, kind, code, {'seal' if sealed else '0'}"
        statement = f"SELECT {columns} FROM codes_{self._n} WHERE row > ? ORDER BY row"
        numbers, kinds, blobs, seals = [], [], [], []
        for row, kind, code, seal in cursor.execute(statement, (last,)):
            seals.append(seal)
            numbers.append(row)
            kinds.append(kind)
            blobs.append(code)
        try:
            words = np.frombuffer(b"".join(blobs), np.uint64).reshape(len(blobs), self._codes.words)
            places, sealed_as = np.array(numbers, np.int64), np.array(seals, np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise Damaged(f"its codes are of another form ({error})") from error
        if sealed and (wrong := np.flatnonzero(code_seals(places, kinds, words) != sealed_as)).size:
            raise Damaged(f"code {numbers[wrong[0]]} does not fit its checksum")
        names = (*before.names, *sorted(set(kinds) - set(before.names)))
        indices = {name: index for index, name in enumerate(names)}
        added = words.T
        return View(
            rows=np.concatenate((before.rows, places)),
            kinds=np.concatenate((before.kinds, np.array([indices[kind] for kind in kinds], np.int16))),
            names=names,
            columns=np.ascontiguousarray(np.concatenate((before.columns, added), axis=1)),
            sums=np.concatenate((before.sums, sums_of_levels(added))),
            rotation=before.rotation,
            seals=np.concatenate((before.seals, sealed_as)),
        )

    def _passing(self, cursor: sqlite3.Cursor, view: View, where: Filter) -> NDArray[np.bool_]:
        if isinstance(where, Eq) and where.field == "kind":
            index = view.names.index(where.value) if where.value in view.names else NO_KIND
            same: NDArray[np.bool_] = view.kinds == index
            return same
        self.check_rows_once(cursor, where)
        sql, values = sqlite_condition(where)
        statement = f"SELECT row FROM rows_{self._n} NOT INDEXED WHERE {sql}"  # what was looked at is the rows
        numbers = np.fromiter((row for (row,) in cursor.execute(statement, values)), np.int64)
        passing = np.zeros(len(view.rows), bool)
        passing[np.searchsorted(view.rows, numbers)] = True  # the same moment: every number is among the rows
        return passing


def _without(view: View, gone: list[int]) -> View:
    if not gone or not len(view.rows):
        return view
    stays = ~np.isin(view.rows, np.array(gone, np.int64))
    return replace(
        view,
        rows=view.rows[stays],
        kinds=view.kinds[stays],
        columns=view.columns[:, stays],
        sums=view.sums[stays],
        seals=view.seals[stays],
    )
