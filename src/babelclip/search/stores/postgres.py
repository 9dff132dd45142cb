"""PostgreSQL with pgvector (0.7 or newer): 16-bit vectors; candidates from an index (HNSW), compared exactly.

Tables lie in a schema of their own, ``babelclip`` or the one that the URL names with ``?schema=``. Small stores are
compared row by row, exactly; larger ones get an index for each kind when they are compacted. pgvector's sign bits
(``binary_quantize``) are not used: a text's cosines with photos differ too little for them (lab/LOG.md, 2026-11-28).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
import psycopg
import psycopg.sql
from psycopg.types.json import Jsonb

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, StoreError
from babelclip.search.filters import Filter
from babelclip.search.store import Known, Row, Scored, check_query, check_rows, damaged, visible
from babelclip.search.stored_values import read_known, read_row, read_scored, unchecked_row
from babelclip.search.stores.postgres_filters import postgres_condition

_SCHEMA = "babelclip"
CANDIDATES = 400
"""Rows of a kind that an index gives, to be compared exactly: pgvector's ``ef_search``."""
INDEX_FROM = 20_000
"""From so many rows of a kind on compacting makes an index of it."""
BUILD = "WITH (m = 24, ef_construction = 128)"
"""pgvector's defaults lose 4 of 100 of the photos nearest to a text (lab/LOG.md, 2026-11-28)."""
_AT_ONCE = 2000

Cursor = psycopg.Cursor[tuple[Any, ...]]


class PostgresDatabase:
    """A schema of notes and stores. Threads may share one."""

    def __init__(self, url: str, *, create: bool) -> None:
        """Connect to a database.

        Raises:
            StoreError: it cannot be reached, or there is no index in it.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self.schema = options.pop("schema", _SCHEMA)
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", self.schema):
            raise ConfigError(f"schema {self.schema!r}: expected small letters, digits and _")
        self.url = _without_password(url)
        self._lock = threading.RLock()
        address = urlunsplit(parts._replace(query=urlencode(options)))
        try:
            self._connection = psycopg.connect(address, autocommit=True, connect_timeout=10)
        except psycopg.Error as error:
            raise StoreError(f"{self.url} cannot be reached: {_first_line(error)}") from error
        try:
            self._prepare(create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, create: bool) -> None:
        with self.working() as cursor:
            there = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{self.schema}.notes",)).fetchone()
            if there == (False,):
                if not create:
                    raise StoreError(f"there is no index at {self.url}")
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext('babelclip'))")  # two may begin at once
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {self.schema}.notes (name text PRIMARY KEY, value text NOT NULL)"
                )
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {self.schema}.stores "
                    "(number int GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY, dim int NOT NULL)"
                )
            found = cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
            if found is None or tuple(map(int, found[0].split(".")[:2])) < (0, 7):
                raise StoreError(f"{self.url} has pgvector {found and found[0]}; 16-bit vectors need 0.7 or newer")

    def stores(self) -> list[str]:
        with self.working() as cursor:
            return [name for (name,) in cursor.execute(f"SELECT name FROM {self.schema}.stores ORDER BY number")]

    def open(self, name: str) -> PostgresStore:
        with self.working() as cursor:
            statement = f"SELECT number, dim FROM {self.schema}.stores WHERE name = %s"
            found = cursor.execute(statement, (name,)).fetchone()
        if found is None:
            raise StoreError(f"{self.url} holds no store named {name!r}")
        return PostgresStore(self, *found)

    def create(self, name: str, dim: int) -> PostgresStore:
        with self.working() as cursor:
            try:
                statement = f"INSERT INTO {self.schema}.stores (name, dim) VALUES (%s, %s) RETURNING number"
                found = cursor.execute(statement, (name, dim)).fetchone()
            except psycopg.errors.UniqueViolation as error:
                raise StoreError(f"{self.url} holds a store named {name!r} already") from error
            assert found is not None
            rows = f"{self.schema}.rows_{found[0]}"
            cursor.execute(
                f'CREATE TABLE {rows} (id text COLLATE "C" PRIMARY KEY, kind text NOT NULL, metadata jsonb NOT NULL, '
                f"embedding halfvec({dim}) NOT NULL)"
            )
            cursor.execute(f"CREATE INDEX ON {rows} USING gin (metadata jsonb_path_ops)")
            cursor.execute(f"CREATE INDEX ON {rows} (kind)")
        return self.open(name)

    def drop(self, name: str) -> None:
        with self.working() as cursor:
            statement = f"DELETE FROM {self.schema}.stores WHERE name = %s RETURNING number"
            found = cursor.execute(statement, (name,)).fetchone()
            if found is not None:
                cursor.execute(f"DROP TABLE {self.schema}.rows_{found[0]}")

    def notes(self) -> dict[str, str]:
        with self.working() as cursor:
            return dict(cursor.execute(f"SELECT name, value FROM {self.schema}.notes").fetchall())

    def note(self, changes: Mapping[str, str | None]) -> None:
        with self.working() as cursor:
            for name, value in changes.items():
                if value is None:
                    cursor.execute(f"DELETE FROM {self.schema}.notes WHERE name = %s", (name,))
                else:
                    cursor.execute(
                        f"INSERT INTO {self.schema}.notes VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = "
                        "excluded.value",
                        (name, value),
                    )

    def erase(self) -> None:
        for name in self.stores():
            self.drop(name)
        with self.working() as cursor:
            cursor.execute(f"DROP TABLE {self.schema}.notes, {self.schema}.stores")
            left = cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", (self.schema,)).fetchone()
            if self.schema != "public" and left == (0,):
                cursor.execute(f"DROP SCHEMA {self.schema}")
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def working(self) -> Iterator[Cursor]:
        """One transaction, kept when the block ends well.

        Raises:
            StoreError: what the server complains of.
        """
        try:
            with self._lock, self._connection.transaction(), self._connection.cursor() as cursor:
                yield cursor
        except psycopg.Error as error:
            raise StoreError(f"{self.url}: {_first_line(error)}") from error


class PostgresStore:
    """One set of rows of a database."""

    def __init__(self, database: PostgresDatabase, number: int, dim: int) -> None:
        self.dim = dim
        self._database = database
        self._rows = f"{database.schema}.rows_{number}"
        self._index = f"near_{number}_"

    def upsert(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.dim)
        entries = [(row.id, row.kind, Jsonb(dict(visible(row))), _literal(row.vector)) for row in rows]
        with self._database.working() as cursor:
            cursor.executemany(
                f"INSERT INTO {self._rows} VALUES (%s, %s, %s, %s::halfvec) ON CONFLICT (id) DO UPDATE SET "
                "kind = excluded.kind, metadata = excluded.metadata, embedding = excluded.embedding",
                entries,
            )

    def delete(self, ids: Sequence[str]) -> None:
        with self._database.working() as cursor:
            cursor.execute(f"DELETE FROM {self._rows} WHERE id = ANY(%s)", (list(ids),))

    def query(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Scored]:
        vector = check_query(vector, k, self.dim)
        test, parameters = postgres_condition(where)
        with self._database.working() as cursor:
            indexed = self._indexed_kinds(cursor)
            found = self._best(cursor, vector, k, f"{test} AND kind <> ALL(%s)", [*parameters, indexed])
            for kind in indexed:
                passing = f"{test} AND kind = %s"
                values = [*parameters, kind]
                counted = (
                    f"SELECT count(*) FROM (SELECT 1 FROM {self._rows} WHERE {passing} LIMIT {INDEX_FROM}) AS passing"
                )
                few = cursor.execute(counted, values).fetchone() < (INDEX_FROM,)  # type: ignore[operator]
                found += self._best(cursor, vector, k, passing, values, by_index=not few)
        return sorted(found, key=lambda hit: -hit.score)[:k]

    def _best(
        self,
        cursor: Cursor,
        vector: Vectors,
        k: int,
        passing: str,
        values: Sequence[object],
        *,
        by_index: bool = False,
    ) -> list[Scored]:
        """The best among rows that pass, each compared, or the candidates that the index gives."""
        literal, rows = _literal(vector), f"SELECT * FROM {self._rows} WHERE {passing}"
        if by_index:
            max_scanned = min(1000, max(CANDIDATES, 2 * k))
            cursor.execute(f"SET LOCAL hnsw.ef_search = {max_scanned}")
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")  # goes on where a filter leaves too few
            cursor.execute("SET LOCAL hnsw.max_scan_tuples = 1000000")
            rows += f" ORDER BY embedding <#> %s::halfvec({self.dim}) LIMIT {max(max_scanned, k)}"
            values = [*values, literal]
        cursor.execute(
            f"SELECT id, kind, metadata, -(embedding::vector <#> %s::vector) AS score FROM ({rows}) AS rows "
            "ORDER BY score DESC, id LIMIT %s",
            [literal, *values, k],
        )
        return [
            read_scored(self._database.url, id, kind, _own(metadata), score) for id, kind, metadata, score in cursor
        ]

    def _indexed_kinds(self, cursor: Cursor) -> list[str]:
        """Kinds that have an index; it is told in the index's comment."""
        found = cursor.execute(
            "SELECT obj_description(pg_class.oid) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE nspname = %s AND starts_with(relname, %s) ORDER BY relname",
            (self._database.schema, self._index),
        )
        return [kind for (kind,) in found]

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        with self._database.working() as cursor:
            statement = f"SELECT id, kind, metadata, embedding::real[] FROM {self._rows} WHERE id = ANY(%s)"
            found = {entry[0]: self._row(entry) for entry in cursor.execute(statement, (list(ids),))}
        return [found.get(id) for id in ids]

    def count(self, where: Filter | None = None) -> int:
        test, parameters = postgres_condition(where)
        with self._database.working() as cursor:
            found = cursor.execute(f"SELECT count(*) FROM {self._rows} WHERE {test}", parameters).fetchone()
        assert found is not None
        return int(found[0])

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        for id, kind, metadata in self._pages("id, kind, metadata", where):
            yield read_known(self._database.url, id, kind, _own(metadata))

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        for entry in self._pages("id, kind, metadata, embedding::real[]", where):
            yield self._row(entry)

    def _row(self, entry: tuple[Any, ...]) -> Row:
        id, kind, metadata, numbers = entry
        return read_row(self._database.url, self.dim, id, kind, _own(metadata), numbers)

    def _pages(self, columns: str, where: Filter | None) -> Iterator[tuple[Any, ...]]:
        test, parameters = postgres_condition(where)
        statement = f"SELECT {columns} FROM {self._rows} WHERE {test} AND id > %s ORDER BY id LIMIT {_AT_ONCE}"
        last = ""
        while True:
            with self._database.working() as cursor:
                page = cursor.execute(statement, [*parameters, last]).fetchall()
            yield from page
            if len(page) < _AT_ONCE:
                return
            last = page[-1][0]

    def verify(self) -> list[str]:
        entries = self._pages("id, kind, metadata, embedding::real[]", None)
        return damaged(unchecked_row(id, kind, _own(metadata), numbers) for id, kind, metadata, numbers in entries)

    def compact(self) -> None:
        """Makes an index of each kind that has many rows; those that are there follow every write by themselves."""
        with self._database.working() as cursor:
            indexed = self._indexed_kinds(cursor)
            counted = f"SELECT kind FROM {self._rows} GROUP BY kind HAVING count(*) >= %s"
            many = [kind for (kind,) in cursor.execute(counted, (INDEX_FROM,)).fetchall()]
            for kind in many:
                if kind in indexed:
                    continue
                name = self._index + hashlib.blake2b(kind.encode(), digest_size=4).hexdigest()
                shown = psycopg.sql.Literal(kind).as_string(cursor)
                using = f"hnsw (embedding halfvec_ip_ops) {BUILD}"
                cursor.execute(f"CREATE INDEX {name} ON {self._rows} USING {using} WHERE kind = {shown}")
                cursor.execute(f"COMMENT ON INDEX {self._database.schema}.{name} IS {shown}")
            cursor.execute(f"ANALYZE {self._rows}")  # else the planner guesses that a filter leaves few rows


def _literal(vector: Vectors) -> str:
    return json.dumps(vector.astype(np.float64).tolist())


def _own(metadata: Any) -> Any:
    """Metadata as they were given; the kind stands beside them."""
    if not isinstance(metadata, dict):
        return metadata  # ``read_known`` refuses it
    return {name: value for name, value in metadata.items() if name != "kind"}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
