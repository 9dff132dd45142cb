"""The means of the kinds in a SQLite store, and the sign bits around them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from babelclip.arrays import Vectors
from babelclip.search.bits import pack

MOST_BITS = 384
"""Numbers of a vector that have a bit; those of wider models are Matryoshka prefixes."""
FIRST = 256
"""Rows of a kind that give its first mean."""
GROWTH = 4
"""A mean is taken anew when there are so many times more rows; all bits of the kind with it."""
SAMPLE = 20_000
"""Rows that a mean is taken over."""
AT_ONCE = 16_384


class Centers:
    """Works inside the caller's transaction and holds nothing: another process may have moved a mean."""

    def __init__(self, number: int, dim: int) -> None:
        self._n, self._dim = number, dim
        self.bits_width = min(dim, MOST_BITS)

    def read(self, cursor: sqlite3.Cursor) -> dict[str, Vectors]:
        """The mean of every kind that has one. (E,)"""
        found = cursor.execute(f"SELECT kind, mean FROM centers_{self._n}")
        return {kind: np.frombuffer(mean, np.float32) for kind, mean in found}

    def bits(self, cursor: sqlite3.Cursor, kinds: Sequence[str], vectors: Vectors) -> list[bytes]:
        """The sign bits of vectors (N, E), around zero for kinds without a mean."""
        means, zero = self.read(cursor), np.zeros(self._dim, np.float32)
        around = np.stack([means.get(kind, zero) for kind in kinds])
        return [words.tobytes() for words in pack(vectors - around, zero, self.bits_width)]

    def renew_when_grown(self, cursor: sqlite3.Cursor, kinds: set[str]) -> None:
        """Take the means of kinds that have grown much."""
        n = self._n
        taken = dict(cursor.execute(f"SELECT kind, rows FROM centers_{n}"))
        for kind in kinds:
            enough = GROWTH * taken.get(kind, FIRST // GROWTH)
            # Rows are counted only as far as it takes to know.
            counted = f"SELECT count(*) FROM (SELECT 1 FROM rows_{n} WHERE kind = ? LIMIT ?)"
            if cursor.execute(counted, (kind, enough)).fetchone()[0] >= enough:
                self.renew(cursor, {kind})

    def renew(self, cursor: sqlite3.Cursor, kinds: set[str]) -> None:
        """Take the means of kinds anew, and all bits around them; whoever has read bits before reads them again."""
        n = self._n
        for kind in kinds:
            rows = [row for (row,) in cursor.execute(f"SELECT row FROM rows_{n} WHERE kind = ? ORDER BY row", (kind,))]
            if len(rows) < FIRST:
                continue
            chosen = rows[:: max(1, len(rows) // SAMPLE)]
            mean = np.mean(
                [self._vectors(cursor, chosen[i : i + AT_ONCE]).mean(0) for i in range(0, len(chosen), AT_ONCE)], axis=0
            )
            entry = (kind, len(rows), mean.astype(np.float32).tobytes())
            cursor.execute(f"INSERT OR REPLACE INTO centers_{n} VALUES (?, ?, ?)", entry)
            for start in range(0, len(rows), AT_ONCE):
                part = rows[start : start + AT_ONCE]
                bits = self.bits(cursor, [kind] * len(part), self._vectors(cursor, part))
                cursor.executemany(f"UPDATE bits_{n} SET bits = ? WHERE row = ?", zip(bits, part, strict=True))
        cursor.execute("UPDATE stores SET epoch = epoch + 1 WHERE number = ?", (n,))

    def wrong_rows(self, cursor: sqlite3.Cursor) -> list[str]:
        """Rows whose vector is not one, or whose bits are not its own."""
        n, problems = self._n, []
        statement = (
            f"SELECT rows_{n}.row, id, rows_{n}.kind, bits_{n}.kind, vector, bits FROM rows_{n} "
            f"JOIN vectors_{n} USING (row) JOIN bits_{n} USING (row) WHERE rows_{n}.row > ? "
            f"ORDER BY rows_{n}.row LIMIT {AT_ONCE}"
        )
        last = 0
        while page := cursor.execute(statement, (last,)).fetchall():
            last = page[-1][0]
            good = []
            for entry in page:
                sized = len(entry[4]) == 2 * self._dim
                norm = float(np.linalg.norm(np.frombuffer(entry[4], np.float16).astype(np.float32))) if sized else 0.0
                if abs(norm - 1) < 3e-3 and entry[2] == entry[3]:
                    good.append(entry)
                else:
                    problems.append(f"row {entry[1]!r}: its vector is damaged")
            if good:
                vectors = np.stack([np.frombuffer(entry[4], np.float16) for entry in good]).astype(np.float32)
                expected = self.bits(cursor, [entry[2] for entry in good], vectors)
                pairs = zip(good, expected, strict=True)
                problems += [
                    f"row {entry[1]!r}: its sign bits are damaged" for entry, bits in pairs if entry[5] != bits
                ]
        return problems

    def _vectors(self, cursor: sqlite3.Cursor, rows: Sequence[int]) -> Vectors:
        """Vectors (N, E) of rows in ascending order."""
        statement = f"SELECT vector FROM vectors_{self._n} WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"
        found = cursor.execute(statement, (str(list(rows)),)).fetchall()
        return np.frombuffer(b"".join(blob for (blob,) in found), np.float16).reshape(-1, self._dim).astype(np.float32)
