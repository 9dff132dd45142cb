"""The sign bits of a SQLite store in memory: kept up to date with the file, masked by filters, scanned."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.search.bits import Words, differing, nearest, pack
from babelclip.search.filters import Eq, Filter
from babelclip.search.store import StoreError
from babelclip.search.stores.sqlite_centers import Centers
from babelclip.search.stores.sqlite_filters import condition

RESCORED = 1000
"""Candidates of each kind that are compared exactly; where no more rows pass, the answer is exact."""
PER_WANTED = 20
"""... and so many for each row that is wanted, where that is more."""
MASKS = 32
"""Filters whose rows are remembered until the next write."""


@dataclass(frozen=True, slots=True)
class View:
    """What was in the store at one moment, and which of it passes."""

    rows: NDArray[np.int64]  # (N,) ascending
    kinds: NDArray[np.uint8]  # (N,) places in ``names``
    names: tuple[str, ...]
    columns: Words  # (W, N)
    means: dict[str, Vectors]
    bits_width: int
    passing: NDArray[np.bool_] | None  # (N,); None: all

    def candidates(self, query: Vectors, k: int) -> NDArray[np.int64]:
        """Numbers of rows among which the ``k`` best are, ascending."""
        most = max(RESCORED, PER_WANTED * k)
        found = []
        for code, name in enumerate(self.names):
            chosen = self.kinds == code
            if self.passing is not None:
                chosen &= self.passing
            places = np.flatnonzero(chosen)
            if len(places) > most:
                columns = self.columns if len(places) == len(self.rows) else self.columns[:, places]
                center = self.means.get(name, np.zeros_like(query))
                places = places[nearest(differing(pack(query[None], center, self.bits_width)[0], columns), most)]
            found.append(places)
        together = np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
        return self.rows[together]


@dataclass(slots=True)
class _Loaded:
    changes: int
    epoch: int
    last_gone: int
    view: View
    masks: dict[Filter, NDArray[np.bool_]] = field(default_factory=dict)


class Scan:
    """Gives views. The caller holds the database's lock."""

    def __init__(self, number: int, dim: int) -> None:
        self._n = number
        self._centers = Centers(number, dim)
        self._loaded: _Loaded | None = None

    def view(self, cursor: sqlite3.Cursor, where: Filter | None) -> View:
        """The store as it is now, and the rows that pass. Raises: StoreError where the store is gone."""
        cursor.execute("BEGIN")  # one moment for all that is read
        try:
            loaded = self._up_to_date(cursor)
            view = loaded.view
            if where is None:
                return view
            passing = loaded.masks.get(where)
            if passing is None:
                passing = self._passing(cursor, view, where)
                if len(loaded.masks) >= MASKS:
                    loaded.masks.pop(next(iter(loaded.masks)))
                loaded.masks[where] = passing
        finally:
            cursor.execute("COMMIT")
        return View(view.rows, view.kinds, view.names, view.columns, view.means, view.bits_width, passing)

    def _up_to_date(self, cursor: sqlite3.Cursor) -> _Loaded:
        found = cursor.execute("SELECT changes, epoch FROM stores WHERE number = ?", (self._n,)).fetchone()
        if found is None:
            raise StoreError("the store has been dropped since it was opened: open it again")
        changes, epoch = found
        old = self._loaded
        if old is not None and old.changes == changes:
            return old
        nothing = View(
            rows=np.empty(0, np.int64),
            kinds=np.empty(0, np.uint8),
            names=(),
            columns=np.empty((-(-self._centers.bits_width // 64), 0), np.uint64),
            means={},
            bits_width=self._centers.bits_width,
            passing=None,
        )
        before, last_gone = (nothing, 0) if old is None or old.epoch != epoch else (old.view, old.last_gone)
        gone = cursor.execute(f"SELECT place, row FROM gone_{self._n} WHERE place > ?", (last_gone,)).fetchall()
        view = self._grown(cursor, _without(before, [row for _, row in gone]))
        last_gone = max((place for place, _ in gone), default=last_gone)
        self._loaded = _Loaded(changes, epoch, last_gone, view)
        return self._loaded

    def _grown(self, cursor: sqlite3.Cursor, before: View) -> View:
        """With the rows that came after those of ``before``."""
        last = int(before.rows[-1]) if len(before.rows) else 0
        statement = f"SELECT row, kind, bits FROM bits_{self._n} WHERE row > ? ORDER BY row"
        numbers, kinds, blobs = [], [], []
        for row, kind, bits in cursor.execute(statement, (last,)):
            numbers.append(row)
            kinds.append(kind)
            blobs.append(bits)
        names = (*before.names, *sorted(set(kinds) - set(before.names)))
        codes = {name: code for code, name in enumerate(names)}
        added = np.frombuffer(b"".join(blobs), np.uint64).reshape(len(blobs), len(before.columns)).T
        return View(
            rows=np.concatenate((before.rows, np.array(numbers, np.int64))),
            kinds=np.concatenate((before.kinds, np.array([codes[kind] for kind in kinds], np.uint8))),
            names=names,
            columns=np.ascontiguousarray(np.concatenate((before.columns, added), axis=1)),
            means=self._centers.read(cursor),
            bits_width=before.bits_width,
            passing=None,
        )

    def _passing(self, cursor: sqlite3.Cursor, view: View, where: Filter) -> NDArray[np.bool_]:
        if isinstance(where, Eq) and where.field == "kind":
            same: NDArray[np.bool_] = view.kinds == (
                view.names.index(where.value) if where.value in view.names else 255
            )
            return same
        sql, values = condition(where)
        statement = f"SELECT row FROM rows_{self._n} WHERE {sql}"
        numbers = np.fromiter((row for (row,) in cursor.execute(statement, values)), np.int64)
        passing = np.zeros(len(view.rows), bool)
        passing[np.searchsorted(view.rows, numbers)] = True  # the same moment: every number is among the rows
        return passing


def _without(view: View, gone: list[int]) -> View:
    if not gone or not len(view.rows):
        return view
    stays = ~np.isin(view.rows, np.array(gone, np.int64))
    return View(
        view.rows[stays], view.kinds[stays], view.names, view.columns[:, stays], view.means, view.bits_width, None
    )
