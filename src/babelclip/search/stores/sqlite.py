"""The default store: one SQLite file. Rows are the truth; codes are scanned in memory, 16-bit vectors rescore.

A write is one transaction in WAL mode, so readers of other processes go on undisturbed and see all of it or nothing,
and what is killed leaves nothing behind. ``changes`` counts the writes; who holds a scan reads what came since.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from babelclip.errors import StoreError
from babelclip.search.quantized_codes import MAX_NUMBERS, random_rotation
from babelclip.search.stores.sqlite_connect import connect, is_writable
from babelclip.search.stores.sqlite_schema import APPLICATION, BLOCKS_SCHEMA, FILE_FORMAT, FILE_SCHEMA, STORE_SCHEMA
from babelclip.search.stores.sqlite_seals import (
    SEALED_NOTES,
    STORES,
    Damaged,
    are_kept,
    begin,
    check_all,
    damaged_file,
    is_sealed,
    reseal,
)
from babelclip.search.stores.sqlite_store import SqliteStore

PATIENCE = 60.0
"""Seconds that a writer waits for another one."""
_STORES = "SELECT number, name, dim, rotation FROM stores ORDER BY number"
_NOTES = "SELECT name, value FROM notes ORDER BY name"
_SIGNS_OF_DAMAGE = ("malformed", "disk I/O", "decode", "no such table", "no such column", "JSON", "datatype mismatch")
"""In what SQLite says of a file that it can no longer read."""


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
        with self.at_one_moment() as cursor:
            if are_kept(cursor):
                check_all(cursor, STORES, cursor.execute(_STORES))
            found = cursor.execute("SELECT number, dim, rotation FROM stores WHERE name = ?", (name,)).fetchone()
            sealed = found is not None and is_sealed(cursor, found[0])
        if found is None:
            raise StoreError(f"{self.path} holds no store named {name!r}")
        known = self._opened.get(name)
        if known is None or known.number != found[0]:
            known = self._opened[name] = SqliteStore(self, *found, sealed=sealed)
        return known

    def create(self, name: str, dim: int) -> SqliteStore:
        with self.writing() as cursor:
            try:
                rotation = random_rotation(min(dim, MAX_NUMBERS)).tobytes()
                cursor.execute("INSERT INTO stores (name, dim, rotation) VALUES (?, ?, ?)", (name, dim, rotation))
            except sqlite3.IntegrityError as error:
                raise StoreError(f"{self.path} holds a store named {name!r} already") from error
            number = cursor.lastrowid
            for statement in STORE_SCHEMA.format(n=number).split(";"):
                cursor.execute(statement)
            cursor.execute(BLOCKS_SCHEMA.format(n=number))
            begin(cursor, SEALED_NOTES, *(f"{table}_{number}" for table in ("rows", "codes", "blocks")))
            reseal(cursor, STORES, cursor.execute(_STORES))
            reseal(cursor, SEALED_NOTES, cursor.execute(_NOTES))
            cursor.execute(f"PRAGMA user_version = {FILE_FORMAT}")
        return self.open(name)

    def drop(self, name: str) -> None:
        with self.writing() as cursor:
            found = cursor.execute("SELECT number FROM stores WHERE name = ?", (name,)).fetchone()
            if found is None:
                return
            for table in ("rows", "vectors", "codes", "cones", "gone", "blocks"):
                cursor.execute(f"DROP TABLE IF EXISTS {table}_{found[0]}")
            cursor.execute("DELETE FROM stores WHERE number = ?", found)
            if are_kept(cursor):
                cursor.execute(
                    "DELETE FROM seals WHERE what IN (?, ?, ?)",
                    [f"{table}_{found[0]}" for table in ("rows", "codes", "blocks")],
                )
                reseal(cursor, STORES, cursor.execute(_STORES))
        self._opened.pop(name, None)

    def notes(self) -> dict[str, str]:
        with self.at_one_moment() as cursor:
            return self._notes(cursor)

    def _notes(self, cursor: sqlite3.Cursor) -> dict[str, str]:
        found = cursor.execute(_NOTES).fetchall()
        if are_kept(cursor):
            check_all(cursor, SEALED_NOTES, found)
        return dict(found)

    def note(self, changes: Mapping[str, str | None]) -> None:
        with self.writing() as cursor:
            self._notes(cursor)  # what is damaged is not sealed as it is
            for name, value in changes.items():
                if value is None:
                    cursor.execute("DELETE FROM notes WHERE name = ?", (name,))
                else:
                    cursor.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))
            if are_kept(cursor):
                reseal(cursor, SEALED_NOTES, cursor.execute(_NOTES))

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
            with self.telling_of_damage(), closing(self.connection.cursor()) as cursor:
                yield cursor  # closed under the lock: a statement that still has rows would hold up others' COMMIT

    @contextmanager
    def telling_of_damage(self) -> Iterator[None]:
        """Turn what is found wrong into one error that names the file, and the way out where it is damaged.

        Raises:
            StoreError: whatever it is.
        """
        try:
            yield
        except Damaged as error:
            raise damaged_file(self.path, error) from error
        except sqlite3.Error as error:
            if type(error) is sqlite3.DatabaseError or any(sign in str(error) for sign in _SIGNS_OF_DAMAGE):
                raise damaged_file(self.path, error) from error
            raise StoreError(f"{self.path}: {error}") from error

    @contextmanager
    def at_one_moment(self) -> Iterator[sqlite3.Cursor]:
        """As ``reading``; other processes' writes are not seen while it lasts, so that sums fit what is summed.

        Raises:
            StoreError: as ``reading``.
        """
        with self.reading() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            finally:
                if self.connection.in_transaction:
                    cursor.execute("COMMIT")

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
