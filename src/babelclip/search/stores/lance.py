"""LanceDB: a folder or object storage, many readers, 16-bit vectors compared one by one.

Metadata are kept whole as JSON; beside it stands a column for each field and type (``s_camera``, ``i_size``,
``f_latitude``), which filters use. Columns are added when a field is first seen.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, StoreError
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range, Scalar
from babelclip.search.store import Known, Row, Scored, check_query, check_rows, damaged, visible
from babelclip.search.stored_values import damaged_index, from_json, read_known, read_row, read_scored, unchecked_row

NOTES = "notes"
PREFIX = "store_"
WHOLE = ["id", "kind", "metadata", "vector"]
"""The columns of a row."""
_AT_ONCE = 4096
TYPES = {"s": "string", "i": "bigint", "f": "double"}


class LanceDatabase:
    """A folder of tables. Threads may share one."""

    def __init__(self, path: str, *, create: bool) -> None:
        """Open a folder.

        Raises:
            StoreError: there is no index, or it cannot be used.
        """
        self._path = path
        self._lock = threading.RLock()
        with self.working():
            self._connection = lancedb.connect(path)
            names = self._names()
            if NOTES not in names:
                if not create:
                    raise StoreError(f"there is no index at {path}")
                schema = pa.schema([("name", pa.string()), ("value", pa.string())])
                self._connection.create_table(NOTES, schema=schema, exist_ok=True)

    @property
    def url(self) -> str:
        return f"lance:{self._path}"

    def _names(self) -> list[str]:
        names: list[str] = []
        token = None
        while True:
            page = self._connection.list_tables(page_token=token)
            names += page.tables
            token = page.page_token
            if not token:
                return names

    def stores(self) -> list[str]:
        with self.working():
            return sorted(name.removeprefix(PREFIX) for name in self._names() if name.startswith(PREFIX))

    def open(self, name: str) -> LanceStore:
        with self.working():
            if name not in self.stores():
                raise StoreError(f"{self.url} holds no store named {name!r}")
            return LanceStore(self, self._connection.open_table(PREFIX + name))

    def create(self, name: str, dim: int) -> LanceStore:
        with self.working():
            if name in self.stores():
                raise StoreError(f"{self.url} holds a store named {name!r} already")
            schema = pa.schema(
                [
                    pa.field("id", pa.string(), nullable=False),
                    pa.field("kind", pa.string(), nullable=False),
                    pa.field("metadata", pa.string(), nullable=False),
                    pa.field("vector", pa.list_(pa.float16(), dim), nullable=False),
                ]
            )
            return LanceStore(self, self._connection.create_table(PREFIX + name, schema=schema))

    def drop(self, name: str) -> None:
        with self.working():
            if name in self.stores():
                self._connection.drop_table(PREFIX + name)

    def notes(self) -> dict[str, str]:
        with self.working():
            rows = self._fresh_notes().to_arrow().to_pylist()
        return {row["name"]: row["value"] for row in rows}

    def note(self, changes: Mapping[str, str | None]) -> None:
        with self.working():
            table = self._fresh_notes()
            written = [{"name": name, "value": value} for name, value in changes.items() if value is not None]
            if written:
                data = pa.Table.from_pylist(written, schema=table.schema)
                table.merge_insert("name").when_matched_update_all().when_not_matched_insert_all().execute(data)
            for name in (name for name, value in changes.items() if value is None):
                table.delete(f"name = {_text(name)}")

    def _fresh_notes(self) -> Any:
        return self._connection.open_table(NOTES)

    def erase(self) -> None:
        with self.working():
            for name in self._names():
                if name == NOTES or name.startswith(PREFIX):
                    self._connection.drop_table(name)

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def working(self) -> Iterator[None]:
        """One thread at a time.

        Raises:
            StoreError: what LanceDB complains of.
        """
        with self._lock:
            try:
                yield
            except (StoreError, ConfigError):
                raise
            except (OSError, RuntimeError, ValueError) as error:
                raise StoreError(f"{self.url}: {str(error).splitlines()[0] if str(error) else error!r}") from error


class LanceStore:
    """One table."""

    def __init__(self, database: LanceDatabase, table: Any) -> None:
        self._database, self._table = database, table
        self.dim: int = table.schema.field("vector").type.list_size

    def upsert(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.dim)
        if not rows:
            return
        with self._database.working():
            columns = [_columns(row) for row in rows]
            self._add_columns({name for each in columns for name in each})
            schema = self._table.schema
            entries = [
                {
                    **each,
                    "id": row.id,
                    "kind": row.kind,
                    "metadata": json.dumps(dict(row.metadata), ensure_ascii=False),
                    "vector": row.vector.astype(np.float16),
                }
                for row, each in zip(rows, columns, strict=True)
            ]
            data = pa.Table.from_pylist(entries, schema=schema)
            self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(data)

    def _add_columns(self, wanted: set[str]) -> None:
        self._table.checkout_latest()
        new = sorted(wanted - set(self._table.schema.names))
        if new:
            self._table.add_columns({name: f"cast(NULL as {TYPES[name[0]]})" for name in new})

    def delete(self, ids: Sequence[str]) -> None:
        if ids:
            with self._database.working():
                self._table.delete(f"id IN ({', '.join(map(_text, ids))})")

    def query(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Scored]:
        vector = check_query(vector, k, self.dim)
        with self._database.working():
            search = self._fresh().search(vector.astype(np.float32)).distance_type("cosine").limit(k)
            search = search.where(self._condition(where), prefilter=True)
            found = search.select(["id", "kind", "metadata", "_distance"]).to_list()
        if None in (distances := [each["_distance"] for each in found]):
            raise damaged_index(self._database.url, f"{distances.count(None)} of its vectors give no cosine")
        return [read_scored(self._database.url, *_about(each), 1.0 - each["_distance"]) for each in found]

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        if not ids:
            return []
        entries = self._read(WHOLE, f"id IN ({', '.join(map(_text, ids))})")
        found = {row.id: row for row in map(self._row, entries)}
        return [found.get(id) for id in ids]

    def count(self, where: Filter | None = None) -> int:
        with self._database.working():
            return int(self._fresh().count_rows(self._condition(where)))

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        for each in self._scanned(["id", "kind", "metadata"], where):
            yield read_known(self._database.url, *_about(each))

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        yield from map(self._row, self._scanned(WHOLE, where))

    def _row(self, each: Mapping[str, Any]) -> Row:
        return read_row(self._database.url, self.dim, *_about(each), each["vector"])

    def _scanned(self, columns: list[str], where: Filter | None) -> Iterator[dict[str, Any]]:
        with self._database.working():
            self._fresh()
            test = self._condition(where)
        yield from self._read(columns, test)

    def _read(self, columns: list[str], test: str) -> Iterator[dict[str, Any]]:
        with self._database.working():
            batches = self._fresh().search().where(test).select(columns).to_batches(_AT_ONCE)
        for batch in batches:
            yield from batch.to_pylist()

    def _fresh(self) -> Any:
        """The table with what others have written."""
        self._table.checkout_latest()
        return self._table

    def _condition(self, where: Filter | None) -> str:
        return condition(where, set(self._table.schema.names))

    def verify(self) -> list[str]:
        return damaged(unchecked_row(*_about(each), each["vector"]) for each in self._scanned(WHOLE, None))

    def compact(self) -> None:
        with self._database.working():
            self._fresh().optimize(cleanup_older_than=timedelta(minutes=10))


def _about(each: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return each["id"], each["kind"], from_json(each["metadata"])


def condition(where: Filter | None, columns: set[str]) -> str:
    """A filter as SQL of DataFusion. A field that has no column yet is in no row."""
    match where:
        case None:
            return "true"
        case Eq(field, value):
            return condition(In(field, (value,)), columns)
        case In(field, values):
            return _any_of(_equal(column, value) for value in values for column in _of(field, value, columns))
        case Range(field):
            return _any_of(
                " AND ".join(f"{column} {sign} {_value(bound)}" for sign, bound in where.bounds)
                for column in _of(field, where.bounds[0][1], columns)
            )
        case Prefix(field, start):
            return _any_of(f"starts_with({column}, {_text(start)})" for column in _of(field, start, columns))
        case And(parts):
            return "(" + (" AND ".join(condition(part, columns) for part in parts) or "true") + ")"
        case Or(parts):
            return _any_of(condition(part, columns) for part in parts)
        case Not(part):
            return f"(NOT coalesce({condition(part, columns)}, false))"
    raise ConfigError(f"not a filter: {where!r}")


def _any_of(tests: Iterator[str]) -> str:
    return "(" + (" OR ".join(f"coalesce({test}, false)" for test in tests) or "false") + ")"


def _of(field: str, value: Scalar, columns: set[str]) -> list[str]:
    """The columns in which a field of this value's type is."""
    if field == "kind":
        return ["kind"] if isinstance(value, str) else []
    named = ("s",) if isinstance(value, str) else ("i", "f")
    return [f"{kind}_{field}" for kind in named if f"{kind}_{field}" in columns]


def _columns(row: Row) -> dict[str, Scalar]:
    kinds = {str: "s", int: "i", float: "f"}
    return {f"{kinds[type(value)]}_{field}": value for field, value in visible(row).items() if field != "kind"}


def _equal(column: str, value: Scalar) -> str:
    return f"{column} = {_value(value)}"


def _value(value: Scalar) -> str:
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
