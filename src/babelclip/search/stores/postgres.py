"""PostgreSQL with pgvector (0.7 or newer): 16-bit vectors, candidates by sign bits, compared exactly.

Tables lie in a schema of their own, ``babelclip`` or the one that the URL names with ``?schema=``. Small stores are
compared row by row, exactly; larger ones get an index of sign bits (HNSW) when they are compacted, as the default store
has: around the mean of each kind, of a Matryoshka prefix.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError
from babelclip.search.filters import And, Eq, Filter
from babelclip.search.store import Known, Row, Scored, StoreError, check_query, check_rows, visible
from babelclip.search.stores.postgres_filters import condition

SCHEMA = "babelclip"
CANDIDATES = 1000
"""Rows of a kind that the index of bits gives, to be compared exactly: pgvector's largest ``ef_search``."""
INDEX_FROM = 20_000
"""From so many rows on compacting makes an index."""
MOST_BITS = 384
AT_ONCE = 2000

Cursor = psycopg.Cursor[tuple[Any, ...]]


class PostgresDatabase:
    """A schema of notes and stores. Threads may share one."""

    def __init__(self, url: str, *, create: bool) -> None:
        """Raises: StoreError where it cannot be reached, or there is no index in it."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self.schema = options.pop("schema", SCHEMA)
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
            rows, centers = f"{self.schema}.rows_{found[0]}", f"{self.schema}.centers_{found[0]}"
            cursor.execute(
                f'CREATE TABLE {rows} (id text COLLATE "C" PRIMARY KEY, kind text NOT NULL, metadata jsonb NOT NULL, '
                f"embedding halfvec({dim}) NOT NULL, bits bit({min(dim, MOST_BITS)}) NOT NULL)"
            )
            cursor.execute(f"CREATE INDEX ON {rows} USING gin (metadata jsonb_path_ops)")
            cursor.execute(f"CREATE TABLE {centers} (kind text PRIMARY KEY, mean real[] NOT NULL)")
        return self.open(name)

    def drop(self, name: str) -> None:
        with self.working() as cursor:
            statement = f"DELETE FROM {self.schema}.stores WHERE name = %s RETURNING number"
            found = cursor.execute(statement, (name,)).fetchone()
            if found is not None:
                cursor.execute(f"DROP TABLE {self.schema}.rows_{found[0]}, {self.schema}.centers_{found[0]}")

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
        """One transaction, kept when the block ends well. Raises: StoreError for what the server complains of."""
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
        self._rows, self._centers = f"{database.schema}.rows_{number}", f"{database.schema}.centers_{number}"
        self._index = f"bits_{number}"
        self._bits = min(dim, MOST_BITS)

    def upsert(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.dim)
        with self._database.working() as cursor:
            means = self._means(cursor)
            entries = [
                (row.id, row.kind, Jsonb(dict(visible(row))), _literal(row.vector), self._sign_bits(row, means))
                for row in rows
            ]
            cursor.executemany(
                f"INSERT INTO {self._rows} VALUES (%s, %s, %s, %s::halfvec, %s::bit({self._bits})) ON CONFLICT (id) "
                "DO UPDATE SET kind = excluded.kind, metadata = excluded.metadata, embedding = excluded.embedding, "
                "bits = excluded.bits",
                entries,
            )

    def delete(self, ids: Sequence[str]) -> None:
        with self._database.working() as cursor:
            cursor.execute(f"DELETE FROM {self._rows} WHERE id = ANY(%s)", (list(ids),))

    def query(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Scored]:
        vector = check_query(vector, k, self.dim)
        with self._database.working() as cursor:
            indexed = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{self._database.schema}.{self._index}",))
            if indexed.fetchone() == (False,):
                return self._compared(cursor, self._rows, vector, k, where)
            found = []
            for kind, mean in self._means(cursor).items():
                found += self._near(cursor, vector, k, Eq("kind", kind), where, mean)
            rest = self._compared_rest(cursor, vector, k, where)
        return sorted(found + rest, key=lambda hit: -hit.score)[:k]

    def _compared(
        self, cursor: Cursor, table: str, vector: Vectors, k: int, where: Filter | None, before: Sequence[object] = ()
    ) -> list[Scored]:
        """The best of a table by comparing every row that passes."""
        test, parameters = condition(where)
        literal = _literal(vector)
        cursor.execute(
            f"SELECT id, kind, metadata, -(embedding::vector <#> %s::vector) FROM {table} AS rows WHERE {test} "
            "ORDER BY embedding::vector <#> %s::vector, id LIMIT %s",
            [literal, *before, *parameters, literal, k],
        )
        return [Scored(id, kind, _own(metadata), float(score)) for id, kind, metadata, score in cursor]

    def _near(
        self, cursor: Cursor, vector: Vectors, k: int, kind: Filter, where: Filter | None, mean: Vectors
    ) -> list[Scored]:
        """The best of a kind among the candidates that the index of bits gives."""
        cursor.execute(f"SET LOCAL hnsw.ef_search = {CANDIDATES}")
        cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")  # goes on where a filter leaves too few
        test, parameters = condition(kind if where is None else And((kind, where)))
        table = f"(SELECT * FROM {self._rows} WHERE {test} ORDER BY bits <~> %s::bit({self._bits}) LIMIT {CANDIDATES})"
        bits = _signs(vector - mean, self._bits)
        return self._compared(cursor, table, vector, k, None, [*parameters, bits])

    def _compared_rest(self, cursor: Cursor, vector: Vectors, k: int, where: Filter | None) -> list[Scored]:
        """The best of the kinds that are too small to have a mean."""
        test, parameters = condition(where)
        table = f"(SELECT * FROM {self._rows} WHERE {test} AND kind NOT IN (SELECT kind FROM {self._centers}))"
        return self._compared(cursor, table, vector, k, None, parameters)

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        with self._database.working() as cursor:
            statement = f"SELECT id, kind, metadata, embedding::real[] FROM {self._rows} WHERE id = ANY(%s)"
            found = {entry[0]: _row(entry) for entry in cursor.execute(statement, (list(ids),))}
        return [found.get(id) for id in ids]

    def count(self, where: Filter | None = None) -> int:
        test, parameters = condition(where)
        with self._database.working() as cursor:
            found = cursor.execute(f"SELECT count(*) FROM {self._rows} WHERE {test}", parameters).fetchone()
        assert found is not None
        return int(found[0])

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        for id, kind, metadata in self._pages("id, kind, metadata", where):
            yield Known(id, kind, _own(metadata))

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        for entry in self._pages("id, kind, metadata, embedding::real[]", where):
            yield _row(entry)

    def _pages(self, columns: str, where: Filter | None) -> Iterator[tuple[Any, ...]]:
        test, parameters = condition(where)
        statement = f"SELECT {columns} FROM {self._rows} WHERE {test} AND id > %s ORDER BY id LIMIT {AT_ONCE}"
        last = ""
        while True:
            with self._database.working() as cursor:
                page = cursor.execute(statement, [*parameters, last]).fetchall()
            yield from page
            if len(page) < AT_ONCE:
                return
            last = page[-1][0]

    def verify(self) -> list[str]:
        problems = []
        with self._database.working() as cursor:
            means = self._means(cursor)
        statement = "id, kind, metadata, embedding::real[], bits::text"
        for entry in self._pages(statement, None):
            row = _row(entry[:4])
            if not abs(float(np.linalg.norm(row.vector)) - 1) < 3e-3:
                problems.append(f"row {row.id!r}: its vector is damaged")
            elif entry[4] != self._sign_bits(row, means):
                problems.append(f"row {row.id!r}: its sign bits are damaged")
        return problems

    def compact(self) -> None:
        """Takes the means of the kinds anew, all bits around them, and makes the index where there are many rows."""
        with self._database.working() as cursor:
            cursor.execute(f"LOCK TABLE {self._rows} IN SHARE ROW EXCLUSIVE MODE")  # nobody writes around an old mean
            cursor.execute(f"DROP INDEX IF EXISTS {self._database.schema}.{self._index}")
            cursor.execute(f"DELETE FROM {self._centers}")
            cursor.execute(
                f"INSERT INTO {self._centers} SELECT kind, avg(embedding::vector)::real[] FROM {self._rows} "
                "GROUP BY kind HAVING count(*) >= 256"
            )
            # A bit says whether a number is above the mean's: the sign bits of what is left of it.
            cursor.execute(
                f"UPDATE {self._rows} AS rows SET bits = binary_quantize(subvector(rows.embedding::vector - "
                f"centers.mean::vector, 1, {self._bits})) FROM {self._centers} AS centers "
                "WHERE rows.kind = centers.kind"
            )
            cursor.execute(
                f"UPDATE {self._rows} SET bits = binary_quantize(subvector(embedding::vector, 1, {self._bits})) "
                f"WHERE kind NOT IN (SELECT kind FROM {self._centers})"
            )
            count = cursor.execute(f"SELECT count(*) FROM {self._rows}").fetchone()
            if count is not None and count[0] >= INDEX_FROM:
                cursor.execute(f"CREATE INDEX {self._index} ON {self._rows} USING hnsw (bits bit_hamming_ops)")

    def _means(self, cursor: Cursor) -> dict[str, Vectors]:
        found = cursor.execute(f"SELECT kind, mean FROM {self._centers}")
        return {kind: np.array(mean, np.float32) for kind, mean in found}

    def _sign_bits(self, row: Row, means: Mapping[str, Vectors]) -> str:
        half = row.vector.astype(np.float16).astype(np.float32)  # as it is stored
        return _signs(half - means.get(row.kind, np.float32(0)), self._bits)


def _signs(vector: Vectors, width: int) -> str:
    return "".join("1" if number > 0 else "0" for number in vector[:width])


def _literal(vector: Vectors) -> str:
    return json.dumps(vector.astype(np.float64).tolist())


def _row(entry: tuple[Any, ...]) -> Row:
    id, kind, metadata, numbers = entry
    return Row(id, kind, np.array(numbers, np.float32), _own(metadata))


def _own(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as they were given; the kind stands beside them."""
    return {name: value for name, value in metadata.items() if name != "kind"}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
