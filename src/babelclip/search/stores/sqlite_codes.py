"""The codes of a SQLite store, and the means of its kinds that they lie around."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from babelclip.arrays import Vectors
from babelclip.search.quantized_codes import MAX_NUMBERS, Rotation, encode_rows
from babelclip.search.store import is_damaged
from babelclip.search.stores.sqlite_seals import Damaged, add, check, check_vectors, code_seals, seal_of

FIRST = 256
"""Rows of a kind that give its first mean."""
_GROWTH = 4
"""A mean is taken anew when there are so many times more rows; all codes of the kind with it."""
_SAMPLE = 20_000
"""Rows that a mean is taken over."""
_AT_ONCE = 16_384
MAX_ODD_BITS = 0.02
"""Share of a row's bits that another machine's rounding may have set differently."""


@dataclass(frozen=True, slots=True)
class Centroid:
    """Where the vectors of a kind lie."""

    mean: Vectors  # (W,)
    step: float  # the spread of a number around the mean


class Codes:
    """Works inside the caller's transaction and holds no mean: another process may have moved it."""

    def __init__(self, number: int, dim: int, rotation: Rotation, sealed: bool) -> None:
        self._n, self._dim, self.sealed = number, dim, sealed
        self.rotation = rotation
        self.width = min(dim, MAX_NUMBERS)
        self.words = 2 * -(-self.width // 64)

    def centroids(self, cursor: sqlite3.Cursor) -> dict[str, Centroid]:
        """Of every kind that has enough rows."""
        columns = f"kind, mean, step, rows, {'seal' if self.sealed else 'NULL'}"
        centroids = {}
        for kind, mean, step, rows, seal in cursor.execute(f"SELECT {columns} FROM cones_{self._n}"):
            if self.sealed:
                check(seal, f"the mean of {kind}", kind, rows, mean, step)
            centroids[kind] = Centroid(np.frombuffer(mean, np.float32), step)
        return centroids

    def write(self, cursor: sqlite3.Cursor, rows: Sequence[int], kinds: Sequence[str], vectors: Vectors) -> None:
        """Put the codes of new rows in."""
        codes = self.encode(cursor, kinds, vectors)
        seals = self._seals(rows, kinds, codes)
        entries = zip(rows, kinds, codes, seals, strict=True)
        cursor.executemany(f"INSERT INTO codes_{self._n} VALUES (?, ?, ?, ?)", entries)
        add(cursor, f"codes_{self._n}", len(seals), sum(seals))

    def _seals(self, rows: Sequence[int], kinds: Sequence[str], codes: Sequence[bytes]) -> list[int]:
        words = np.frombuffer(b"".join(codes), np.uint64).reshape(len(codes), self.words)
        return [int(seal) for seal in code_seals(np.array(rows, np.int64), kinds, words)]

    def encode(self, cursor: sqlite3.Cursor, kinds: Sequence[str], vectors: Vectors) -> list[bytes]:
        """The codes of vectors (N, E); around zero for kinds without a mean."""
        centroids, nothing = self.centroids(cursor), Centroid(np.zeros(self.width, np.float32), self._dim**-0.5)
        chosen = [centroids.get(kind, nothing) for kind in kinds]
        centered = vectors[:, : self.width] - np.stack([cone.mean for cone in chosen])
        steps = np.array([cone.step for cone in chosen], np.float32)
        return [words.tobytes() for words in encode_rows(centered @ self.rotation.T, steps)]

    def renew_when_grown(self, cursor: sqlite3.Cursor, kinds: set[str]) -> None:
        """Take the means of kinds that have grown much."""
        n = self._n
        taken = dict(cursor.execute(f"SELECT kind, rows FROM cones_{n}"))
        for kind in kinds:
            enough = _GROWTH * taken.get(kind, FIRST // _GROWTH)
            # Rows are counted only as far as it takes to know.
            counted = f"SELECT count(*) FROM (SELECT 1 FROM rows_{n} WHERE kind = ? LIMIT ?)"
            if cursor.execute(counted, (kind, enough)).fetchone()[0] >= enough:
                self.renew(cursor, {kind})

    def renew(self, cursor: sqlite3.Cursor, kinds: set[str]) -> None:
        """Take the means of kinds anew, and all codes around them; whoever has read codes before reads them again."""
        n = self._n
        for kind in kinds:
            rows = [row for (row,) in cursor.execute(f"SELECT row FROM rows_{n} WHERE kind = ? ORDER BY row", (kind,))]
            if len(rows) < FIRST:
                continue
            sample = self._vectors(cursor, rows[:: max(1, len(rows) // _SAMPLE)])[:, : self.width]
            mean = sample.mean(axis=0)
            step = max(float((sample - mean).std()), 1e-6)
            entry: tuple[object, ...] = (kind, len(rows), mean.tobytes(), step)
            entry += (seal_of(*entry),) if self.sealed else ()
            marks = ", ".join("?" * len(entry))
            cursor.execute(f"INSERT OR REPLACE INTO cones_{n} VALUES ({marks})", entry)
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                codes = self.encode(cursor, [kind] * len(part), self._vectors(cursor, part))
                self._replace(cursor, part, kind, codes)
        cursor.execute("UPDATE stores SET epoch = epoch + 1 WHERE number = ?", (n,))

    def _replace(self, cursor: sqlite3.Cursor, rows: Sequence[int], kind: str, codes: list[bytes]) -> None:
        n = self._n
        if not self.sealed:
            cursor.executemany(f"UPDATE codes_{n} SET code = ? WHERE row = ?", zip(codes, rows, strict=True))
            return
        listed = f"SELECT coalesce(sum(seal), 0) FROM codes_{n} WHERE row IN (SELECT value FROM json_each(?))"
        before = int(cursor.execute(listed, (str(list(rows)),)).fetchone()[0])
        seals = self._seals(rows, [kind] * len(rows), codes)
        changed = zip(codes, seals, rows, strict=True)
        cursor.executemany(f"UPDATE codes_{n} SET code = ?, seal = ? WHERE row = ?", changed)
        add(cursor, f"codes_{n}", 0, sum(seals) - before)

    def wrong_rows(self, cursor: sqlite3.Cursor) -> list[str]:
        """Rows whose vector is not one, or whose code is not its own."""
        n, problems = self._n, []
        statement = (
            f"SELECT rows_{n}.row, id, rows_{n}.kind, codes_{n}.kind, vector, code FROM rows_{n} "
            f"JOIN vectors_{n} USING (row) JOIN codes_{n} USING (row) WHERE rows_{n}.row > ? "
            f"ORDER BY rows_{n}.row LIMIT {_AT_ONCE}"
        )
        last = 0
        while page := cursor.execute(statement, (last,)).fetchall():
            last = page[-1][0]
            good = []
            for entry in page:
                sized = len(entry[4]) == 2 * self._dim and len(entry[5]) == 8 * self.words
                whole = sized and not is_damaged(np.frombuffer(entry[4], np.float16).astype(np.float32))
                if whole and entry[2] == entry[3]:
                    good.append(entry)
                else:
                    problems.append(f"row {entry[1]!r}: its vector is damaged")
            problems += self._wrong_codes(cursor, good)
        return problems

    def _wrong_codes(self, cursor: sqlite3.Cursor, entries: list[tuple[int, str, str, str, bytes, bytes]]) -> list[str]:
        if not entries:
            return []
        vectors = np.stack([np.frombuffer(entry[4], np.float16) for entry in entries]).astype(np.float32)
        expected = np.frombuffer(b"".join(self.encode(cursor, [entry[2] for entry in entries], vectors)), np.uint64)
        stored = np.frombuffer(b"".join(entry[5] for entry in entries), np.uint64)
        odd = np.bitwise_count(expected ^ stored).reshape(len(entries), -1).sum(axis=1)
        wrong = np.flatnonzero(odd > MAX_ODD_BITS * 2 * self.width)
        return [f"row {entries[index][1]!r}: its code is damaged" for index in wrong]

    def _vectors(self, cursor: sqlite3.Cursor, rows: Sequence[int]) -> Vectors:
        """Vectors (N, E) of rows in ascending order."""
        columns = f"row, vector, {'seal' if self.sealed else 'NULL'}"
        statement = (
            f"SELECT {columns} FROM vectors_{self._n} WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"
        )
        found = cursor.execute(statement, (str(list(rows)),)).fetchall()
        if len(found) != len(rows):
            raise Damaged(f"{len(rows) - len(found):,} vectors are lost")
        if self.sealed:
            check_vectors(found)
        return (
            np.frombuffer(b"".join(blob for _, blob, _ in found), np.float16).reshape(-1, self._dim).astype(np.float32)
        )
