"""The default store: one SQLite file. Rows are the truth; codes are scanned in memory, 16-bit vectors rescore.

A write is one transaction in WAL mode, so readers of other processes go on undisturbed and see all of it or nothing,
and what is killed leaves nothing behind. ``changes`` counts the writes; who holds a scan reads what came since.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.errors import StoreError
from babelclip.search.filters import Filter
from babelclip.search.quantized_codes import MAX_NUMBERS, random_rotation
from babelclip.search.store import Known, Row, Scored, check_query, check_rows
from babelclip.search.stores.sqlite_codes import Codes
from babelclip.search.stores.sqlite_connect import connect, is_writable
from babelclip.search.stores.sqlite_filters import sqlite_condition
from babelclip.search.stores.sqlite_scan import Scan
from babelclip.search.stores.sqlite_schema import APPLICATION, FILE_FORMAT, FILE_SCHEMA, STORE_SCHEMA

PATIENCE = 60.0
"""Seconds that a writer waits for another one."""
_AT_ONCE = 4096
"""Rows that are read at once where all are."""


class SqliteDatabase:
    """A file of notes and stores. Threads may share one."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Open a file.

        Raises:
            StoreError: there is no such file, or it is another program's, a newer format's, or damaged.
        """
        self.path = path.absolute()
        self.lock = threading.RLock()
        self._file: tuple[int, int] | None = None
        if not create and not self.path.is_file():
            raise StoreError(f"there is no index at {self.path}")
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._read_only = self.path.is_file() and not is_writable(self.path)
            self.connection = connect(self.path, read_only=self._read_only, patience=PATIENCE)
            try:
                self._prepare()
                self._file = self._file_now()
            except BaseException:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be used as an index: {error}") from error
        self._opened: dict[str, SqliteStore] = {}

    def _file_now(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _prepare(self) -> None:
        with self.reading() as cursor:
            application = cursor.execute("PRAGMA application_id").fetchone()[0]
            version = cursor.execute("PRAGMA user_version").fetchone()[0]
            tables = cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and application != APPLICATION:
                raise StoreError(f"{self.path} is a database of another program; choose another place for the index")
            if version > FILE_FORMAT:
                raise StoreError(
                    f"{self.path} has format {version}, this version of babelclip knows {FILE_FORMAT}: update it"
                )
            if self._read_only:
                return
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        if not tables:
            with self.writing() as cursor:
                if not cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()[
                    0
                ]:  # another may have been first
                    for statement in FILE_SCHEMA.split(";"):
                        cursor.execute(statement)
                    cursor.execute(f"PRAGMA application_id = {APPLICATION}")
                    cursor.execute(f"PRAGMA user_version = {FILE_FORMAT}")

    @property
    def url(self) -> str:
        return f"sqlite:{self.path}"

    def stores(self) -> list[str]:
        with self.reading() as cursor:
            return [name for (name,) in cursor.execute("SELECT name FROM stores ORDER BY number")]

    def open(self, name: str) -> SqliteStore:
        with self.reading() as cursor:
            found = cursor.execute("SELECT number, dim, rotation FROM stores WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise StoreError(f"{self.path} holds no store named {name!r}")
        known = self._opened.get(name)
        if known is None or known.number != found[0]:
            known = self._opened[name] = SqliteStore(self, *found)
        return known

    def create(self, name: str, dim: int) -> SqliteStore:
        with self.writing() as cursor:
            try:
                rotation = random_rotation(min(dim, MAX_NUMBERS)).tobytes()
                cursor.execute("INSERT INTO stores (name, dim, rotation) VALUES (?, ?, ?)", (name, dim, rotation))
            except sqlite3.IntegrityError as error:
                raise StoreError(f"{self.path} holds a store named {name!r} already") from error
            for statement in STORE_SCHEMA.format(n=cursor.lastrowid).split(";"):
                cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {FILE_FORMAT}")
        return self.open(name)

    def drop(self, name: str) -> None:
        with self.writing() as cursor:
            found = cursor.execute("SELECT number FROM stores WHERE name = ?", (name,)).fetchone()
            if found is None:
                return
            for table in ("rows", "vectors", "codes", "cones", "gone"):
                cursor.execute(f"DROP TABLE {table}_{found[0]}")
            cursor.execute("DELETE FROM stores WHERE number = ?", found)
        self._opened.pop(name, None)

    def notes(self) -> dict[str, str]:
        with self.reading() as cursor:
            return dict(cursor.execute("SELECT name, value FROM notes"))

    def note(self, changes: Mapping[str, str | None]) -> None:
        with self.writing() as cursor:
            for name, value in changes.items():
                if value is None:
                    cursor.execute("DELETE FROM notes WHERE name = ?", (name,))
                else:
                    cursor.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def erase(self) -> None:
        self.close()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)

    def close(self) -> None:
        with self.lock:
            self.connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Cursor]:
        """One thread at a time.

        Raises:
            StoreError: what SQLite finds wrong, and for a file that has gone.
        """
        with self.lock:
            if self._file is not None and self._file != self._file_now():  # SQLite would go on with what nobody sees
                raise StoreError(f"{self.path} was taken away, or another put in its place, while it was open")
            try:
                cursor = self.connection.cursor()
                yield cursor
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Cursor]:
        """One transaction, kept when the block ends well.

        Raises:
            StoreError: the file cannot be written, or another process writes too long.
        """
        if self._read_only:
            raise StoreError(
                f"{self.path} may only be read here: what changes an index has to be done where it can be written"
            )
        with self.reading() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise


class SqliteStore:
    """One set of rows of a database."""

    def __init__(self, database: SqliteDatabase, number: int, dim: int, rotation: bytes) -> None:
        self.number, self.dim = number, dim
        self._database = database
        width = min(dim, MAX_NUMBERS)
        self._codes = Codes(number, dim, np.frombuffer(rotation, np.float32).reshape(width, width))
        self._scan = Scan(number, self._codes)

    def upsert(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.dim)
        if not rows:
            return
        n = self.number
        with self._database.writing() as cursor:
            self._remove(cursor, [row.id for row in rows])
            entries = [(row.id, row.kind, json.dumps(dict(row.metadata), ensure_ascii=False)) for row in rows]
            numbers = [
                cursor.execute(f"INSERT INTO rows_{n} (id, kind, metadata) VALUES (?, ?, ?)", entry).lastrowid
                for entry in entries
            ]
            halves = [row.vector.astype(np.float16) for row in rows]
            blobs = zip(numbers, (half.tobytes() for half in halves), strict=True)
            cursor.executemany(f"INSERT INTO vectors_{n} VALUES (?, ?)", blobs)
            kinds = [row.kind for row in rows]
            codes = self._codes.encode(cursor, kinds, np.stack(halves).astype(np.float32))
            cursor.executemany(f"INSERT INTO codes_{n} VALUES (?, ?, ?)", zip(numbers, kinds, codes, strict=True))
            self._codes.renew_when_grown(cursor, set(kinds))
            self._changed(cursor)

    def delete(self, ids: Sequence[str]) -> None:
        with self._database.writing() as cursor:
            self._remove(cursor, ids)
            self._changed(cursor)

    def _remove(self, cursor: sqlite3.Cursor, ids: Sequence[str]) -> None:
        n, wanted = self.number, json.dumps(list(ids))
        listed = "IN (SELECT value FROM json_each(?))"
        found = [row for (row,) in cursor.execute(f"SELECT row FROM rows_{n} WHERE id {listed}", (wanted,))]
        if found:
            numbers = json.dumps(found)
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
            return self._rescored(cursor, vector, candidates, k)

    def _rescored(self, cursor: sqlite3.Cursor, vector: Vectors, candidates: NDArray[np.int64], k: int) -> list[Scored]:
        n, listed = self.number, "IN (SELECT value FROM json_each(?))"
        wanted = json.dumps(candidates.tolist())
        found = cursor.execute(
            f"SELECT row, vector FROM vectors_{n} WHERE row {listed} ORDER BY row", (wanted,)
        ).fetchall()
        if not found:
            return []
        halves = np.frombuffer(b"".join(blob for _, blob in found), np.float16).reshape(len(found), self.dim)
        scores = halves.astype(np.float32) @ vector
        best = np.argsort(-scores, kind="stable")[:k]
        chosen = {found[position][0]: float(scores[position]) for position in best}
        entries = cursor.execute(
            f"SELECT row, id, kind, metadata FROM rows_{n} WHERE row {listed}", (json.dumps(list(chosen)),)
        )
        scored = {row: Scored(id, kind, json.loads(metadata), chosen[row]) for row, id, kind, metadata in entries}
        return [scored[row] for row in chosen if row in scored]

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        n = self.number
        with self._database.reading() as cursor:
            found = {
                entry[0]: self._row(entry)
                for entry in cursor.execute(
                    f"SELECT id, kind, metadata, vector FROM rows_{n} JOIN vectors_{n} USING (row) "
                    "WHERE id IN (SELECT value FROM json_each(?))",
                    (json.dumps(list(ids)),),
                )
            }
        return [found.get(id) for id in ids]

    def count(self, where: Filter | None = None) -> int:
        sql, values = sqlite_condition(where)
        with self._database.reading() as cursor:
            return int(cursor.execute(f"SELECT count(*) FROM rows_{self.number} WHERE {sql}", values).fetchone()[0])

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        for _, id, kind, metadata in self._pages("row, id, kind, metadata", f"rows_{self.number}", where):
            yield Known(id, kind, json.loads(metadata))

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        n = self.number
        columns = f"rows_{n}.row, id, kind, metadata, vector"
        for entry in self._pages(columns, f"rows_{n} JOIN vectors_{n} USING (row)", where):
            yield self._row(entry[1:])

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

    def _row(self, entry: tuple[str, str, str, bytes]) -> Row:
        id, kind, metadata, blob = entry
        return Row(id, kind, np.frombuffer(blob, np.float16).astype(np.float32), json.loads(metadata))

    def verify(self) -> list[str]:
        n = self.number
        problems = []
        with self._database.reading() as cursor:
            problems += [line for (line,) in cursor.execute("PRAGMA integrity_check") if line != "ok"]
            for table in ("vectors", "codes"):
                lonely = "SELECT count(*) FROM {} WHERE row NOT IN (SELECT row FROM {})"
                for first, second in ((f"rows_{n}", f"{table}_{n}"), (f"{table}_{n}", f"rows_{n}")):
                    count = cursor.execute(lonely.format(first, second)).fetchone()[0]
                    problems += [f"{count} rows of {first} have none in {second}"] if count else []
            if not problems:
                problems += self._codes.wrong_rows(cursor)
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
