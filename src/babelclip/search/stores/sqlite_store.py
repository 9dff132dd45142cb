"""One store of a SQLite file: its rows are the truth; codes are scanned in memory, 16-bit vectors rescore."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.decode import parse_json
from babelclip.errors import StoreError
from babelclip.search.filters import Filter
from babelclip.search.quantized_codes import MAX_NUMBERS
from babelclip.search.store import ROUNDING, Known, Row, Scored, check_query, check_rows, is_damaged
from babelclip.search.stores.sqlite_blocks import changing, check_columns
from babelclip.search.stores.sqlite_codes import Codes
from babelclip.search.stores.sqlite_filters import sqlite_condition
from babelclip.search.stores.sqlite_scan import Scan
from babelclip.search.stores.sqlite_seals import (
    Damaged,
    add,
    check_row,
    check_rows_of,
    check_vectors,
    read_total,
    row_seal,
    vector_seal,
)

if TYPE_CHECKING:
    from babelclip.search.stores.sqlite import SqliteDatabase

_AT_ONCE = 4096
"""Rows that are read at once where all are."""


class SqliteStore:
    """One set of rows of a database."""

    def __init__(self, database: SqliteDatabase, number: int, dim: int, rotation: bytes, *, sealed: bool) -> None:
        self.number, self.dim, self._sealed = number, dim, sealed
        self._database = database
        width = min(dim, MAX_NUMBERS)
        self._codes = Codes(number, dim, np.frombuffer(rotation, np.float32).reshape(width, width), sealed)
        self._scan = Scan(number, self._codes)

    def upsert(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.dim)
        if not rows:
            return
        if not self._sealed:
            raise StoreError(f"{self._database.path} is of an earlier babelclip and is not written to; embed it anew")
        n = self.number
        with self._database.writing() as cursor:
            found = self._found(cursor, [row.id for row in rows])
            last = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (f"rows_{n}",)).fetchone()
            numbers = range(last[0] + 1 if last else 1, (last[0] if last else 0) + len(rows) + 1)
            with changing(cursor, n, [*found, *numbers]):
                self._remove(cursor, found)
                self._put_rows(cursor, numbers, rows)
            halves = [row.vector.astype(np.float16) for row in rows]
            blobs = [(number, half.tobytes()) for number, half in zip(numbers, halves, strict=True)]
            cursor.executemany(
                f"INSERT INTO vectors_{n} VALUES (?, ?, ?)", [(*blob, vector_seal(*blob)) for blob in blobs]
            )
            kinds = [row.kind for row in rows]
            self._codes.write(cursor, numbers, kinds, np.stack(halves).astype(np.float32))
            self._codes.renew_when_grown(cursor, set(kinds))
            self._changed(cursor)

    def _put_rows(self, cursor: sqlite3.Cursor, numbers: Sequence[int], rows: Sequence[Row]) -> None:
        entries = [
            (number, row.id, row.kind, json.dumps(dict(row.metadata), ensure_ascii=False))
            for number, row in zip(numbers, rows, strict=True)
        ]
        seals = [row_seal(*entry) for entry in entries]
        cursor.executemany(
            f"INSERT INTO rows_{self.number} (row, id, kind, metadata, seal) VALUES (?, ?, ?, ?, ?)",
            [(*entry, seal) for entry, seal in zip(entries, seals, strict=True)],
        )
        add(cursor, f"rows_{self.number}", len(rows), sum(seals))

    def delete(self, ids: Sequence[str]) -> None:
        with self._database.writing() as cursor:
            found = self._found(cursor, ids)
            with changing(cursor, self.number, found) if self._sealed else nullcontext():
                self._remove(cursor, found)
            self._changed(cursor)

    def _found(self, cursor: sqlite3.Cursor, ids: Sequence[str]) -> list[int]:
        """Numbers of the rows with these ids."""
        listed = f"SELECT row FROM rows_{self.number} WHERE id IN (SELECT value FROM json_each(?))"
        return [row for (row,) in cursor.execute(listed, (json.dumps(list(ids)),))]

    def _remove(self, cursor: sqlite3.Cursor, found: Sequence[int]) -> None:
        n, listed = self.number, "IN (SELECT value FROM json_each(?))"
        if found:
            numbers = json.dumps(list(found))
            for table in ("rows", "codes") if self._sealed else ():
                summed = f"SELECT count(*), coalesce(sum(seal), 0) FROM {table}_{n} WHERE row {listed}"
                count, total = cursor.execute(summed, (numbers,)).fetchone()
                add(cursor, f"{table}_{n}", -count, -int(total))
            for table in ("rows", "vectors", "codes"):
                cursor.execute(f"DELETE FROM {table}_{n} WHERE row {listed}", (numbers,))
            cursor.executemany(f"INSERT INTO gone_{n} (row) VALUES (?)", ((row,) for row in found))

    def _changed(self, cursor: sqlite3.Cursor) -> None:
        cursor.execute("UPDATE stores SET changes = changes + 1 WHERE number = ?", (self.number,))

    def query(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Scored]:
        vector = check_query(vector, k, self.dim)
        with self._database.reading() as cursor:
            view = self._scan.view(cursor, where)
        candidates = view.candidates(vector, k)  # other threads may read meanwhile
        with self._database.reading() as cursor:
            return self._rescored(cursor, vector, candidates, k, view.changes)

    def _rescored(
        self, cursor: sqlite3.Cursor, vector: Vectors, candidates: NDArray[np.int64], k: int, changes: int
    ) -> list[Scored]:
        n, listed = self.number, "IN (SELECT value FROM json_each(?))"
        wanted = json.dumps(candidates.tolist())
        found = cursor.execute(
            f"SELECT row, vector, {self._seal} FROM vectors_{n} WHERE row {listed} ORDER BY row", (wanted,)
        ).fetchall()
        self._check_found(cursor, len(found), len(candidates), changes)
        if self._sealed:
            check_vectors(found)
        if not found:
            return []
        halves = np.frombuffer(b"".join(blob for _, blob, _ in found), np.float16).reshape(len(found), self.dim)
        scores = halves.astype(np.float32) @ vector
        if not np.abs(scores).max() <= 1 + ROUNDING:  # NaN fails too
            raise Damaged("a vector is not of length one, or holds what is no number")
        best = np.argsort(-scores, kind="stable")[:k]
        chosen = {found[position][0]: float(scores[position]) for position in best}
        entries = cursor.execute(
            f"SELECT row, id, kind, metadata, {self._seal} FROM rows_{n} WHERE row {listed}",
            (json.dumps(list(chosen)),),
        )
        scored = {}
        for row, id, kind, metadata, seal in entries:
            if self._sealed:
                check_row(seal, row, id, kind, metadata)
            scored[row] = Scored(id, kind, parse_json(metadata), chosen[row])
        self._check_found(cursor, len(scored), len(chosen), changes)
        return [scored[row] for row in chosen if row in scored]

    @property
    def _seal(self) -> str:
        return "seal" if self._sealed else "NULL"

    def _check_found(self, cursor: sqlite3.Cursor, found: int, wanted: int, changes: int) -> None:
        """What is not there was taken out since the codes were read, or is lost."""
        now = cursor.execute("SELECT changes FROM stores WHERE number = ?", (self.number,)).fetchone()
        if found != wanted and now == (changes,):
            raise Damaged(f"{wanted - found:,} of {wanted:,} rows are lost")

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        n = self.number
        with self._database.at_one_moment() as cursor:
            found = {
                entry[1]: self._row(entry)
                for entry in cursor.execute(
                    f"SELECT {self._columns} FROM rows_{n} JOIN vectors_{n} USING (row) "
                    "WHERE id IN (SELECT value FROM json_each(?))",
                    (json.dumps(list(ids)),),
                )
            }
            missing = [id for id in ids if id not in found]
            if missing and self._sealed:  # the index of ids may lead nowhere
                there = f"SELECT count(*) FROM rows_{n} NOT INDEXED WHERE id IN (SELECT value FROM json_each(?))"
                count = cursor.execute(there, (json.dumps(missing),)).fetchone()[0]
                if count:
                    raise Damaged(f"{count:,} rows are not found by their ids")
        return [found.get(id) for id in ids]

    def count(self, where: Filter | None = None) -> int:
        sql, values = sqlite_condition(where)
        with self._database.at_one_moment() as cursor:
            if self._sealed and where is None:
                return read_total(cursor, f"rows_{self.number}")[0]
            self._scan.check_rows_once(cursor, where)
            return int(
                cursor.execute(f"SELECT count(*) FROM rows_{self.number} NOT INDEXED WHERE {sql}", values).fetchone()[0]
            )

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        columns = f"row, id, kind, metadata, {self._seal}"
        for row, id, kind, metadata, seal in self._pages(columns, f"rows_{self.number} NOT INDEXED", where):
            with self._database.telling_of_damage():
                if self._sealed:
                    check_row(seal, row, id, kind, metadata)
            yield Known(id, kind, parse_json(metadata))

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        n = self.number
        for entry in self._pages(self._columns, f"rows_{n} NOT INDEXED JOIN vectors_{n} USING (row)", where):
            with self._database.telling_of_damage():
                row = self._row(entry)
            yield row

    def _pages(self, columns: str, tables: str, where: Filter | None) -> Iterator[tuple]:  # type: ignore[type-arg]
        """Page by page, so that writers are not held up by a slow reader."""
        sql, values = sqlite_condition(where)
        last, n = 0, self.number
        statement = (
            f"SELECT {columns} FROM {tables} WHERE {sql} AND rows_{n}.row > ? ORDER BY rows_{n}.row LIMIT {_AT_ONCE}"
        )
        while True:
            with self._database.reading() as cursor:
                page = cursor.execute(statement, [*values, last]).fetchall()
            yield from page
            if len(page) < _AT_ONCE:
                return
            last = page[-1][0]

    @property
    def _columns(self) -> str:
        n = self.number
        seals = f"rows_{n}.seal, vectors_{n}.seal" if self._sealed else "NULL, NULL"
        return f"rows_{n}.row, id, kind, metadata, vector, {seals}"

    def _row(self, entry: tuple[int, str, str, str, bytes, int, int]) -> Row:
        number, id, kind, metadata, blob, sealed_row, sealed_vector = entry
        if self._sealed:
            check_row(sealed_row, number, id, kind, metadata)
            check_vectors([(number, blob, sealed_vector)])
        vector = np.frombuffer(blob, np.float16).astype(np.float32)
        if vector.shape != (self.dim,) or is_damaged(vector):
            raise Damaged(f"vector {number} is none of width {self.dim} and length one")
        return Row(id, kind, vector, parse_json(metadata))

    def verify(self) -> list[str]:
        n = self.number
        problems: list[str] = []
        with self._database.at_one_moment() as cursor:
            problems += [line for (line,) in cursor.execute("PRAGMA integrity_check") if line != "ok"]
            for table in ("vectors", "codes"):
                lonely = "SELECT count(*) FROM {} WHERE row NOT IN (SELECT row FROM {})"
                for first, second in ((f"rows_{n}", f"{table}_{n}"), (f"{table}_{n}", f"rows_{n}")):
                    count = cursor.execute(lonely.format(first, second)).fetchone()[0]
                    problems += [f"{count} rows of {first} have none in {second}"] if count else []
            if not problems:
                problems += self._codes.wrong_rows(cursor)
            if not problems and self._sealed:
                try:
                    check_rows_of(cursor, n)
                    check_columns(cursor, n)
                    self._scan.check_codes(cursor)
                except Damaged as error:
                    problems.append(str(error))
        return problems

    def compact(self) -> None:
        with self._database.writing() as cursor:
            kinds = {kind for (kind,) in cursor.execute(f"SELECT DISTINCT kind FROM rows_{self.number}")}
            self._codes.renew(cursor, kinds)
            cursor.execute(f"DELETE FROM gone_{self.number}")
            self._changed(cursor)
        with self._database.reading() as cursor:
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
