"""Qdrant: a server, or a folder that one process at a time may open.

A store is a collection of its own; notes are points of one more. Qdrant filters strings by equality alone: ranges and
beginnings of strings are turned into lists of the values that a field has, which are read first.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, StoreError
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range, Scalar, matches
from babelclip.search.store import Known, Row, Scored, check_query, check_rows, damaged
from babelclip.search.stored_values import read_known, read_row, read_scored, unchecked_row

_KEY_VARIABLE = "QDRANT_API_KEY"
NAMES = uuid.UUID("5f0c1c1e-7d0b-4e43-9a5e-6d3c3f0d9b11")
"""Qdrant names points by numbers or UUIDs: ours are made from ids."""
_AT_ONCE = 1000


class QdrantDatabase:
    """Collections whose names begin alike. Threads may share one."""

    def __init__(self, location: str, *, create: bool) -> None:
        """Open a folder, or connect to a server.

        Args:
            location: a folder, or http(s)://HOST:PORT/NAME, with the key in QDRANT_API_KEY.

        Raises:
            StoreError: it cannot be reached, or there is no index.
        """
        self._location = location
        self._lock = threading.RLock()
        remote = location.startswith(("http://", "https://"))
        address, _, name = location.partition("://")[2].partition("/") if remote else (location, "", "")
        self._prefix = (name.strip("/") or "babelclip") + "_"
        if not remote and not create and not os.path.isdir(location):
            raise StoreError(f"there is no index at {self.url}")
        try:
            if remote:
                scheme = location.partition("://")[0]
                self._client = QdrantClient(url=f"{scheme}://{address}", api_key=os.environ.get(_KEY_VARIABLE))
            else:
                self._client = QdrantClient(path=location)
        except (RuntimeError, ApiException, OSError, ValueError) as error:
            raise StoreError(f"{self.url} cannot be opened: {error}") from error
        self._notes = self._prefix + "notes"
        with self.working():
            if not self._client.collection_exists(self._notes):
                if not create:
                    self._client.close()
                    raise StoreError(f"there is no index at {self.url}")
                self._client.create_collection(self._notes, models.VectorParams(size=1, distance=models.Distance.DOT))

    @property
    def url(self) -> str:
        return f"qdrant:{self._location}"

    def stores(self) -> list[str]:
        with self.working():
            names = [each.name for each in self._client.get_collections().collections]
        own = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        # Indexes of one server share its list: to an index "a", the collections of an index "a_b" are none of its own.
        return sorted(name for name in own if "_" not in name and name != "notes")

    def open(self, name: str) -> QdrantStore:
        if name not in self.stores():
            raise StoreError(f"{self.url} holds no store named {name!r}")
        with self.working():
            params = self._client.get_collection(self._prefix + name).config.params.vectors
        assert isinstance(params, models.VectorParams)
        return QdrantStore(self, self._client, self._prefix + name, params.size)

    def create(self, name: str, dim: int) -> QdrantStore:
        if "_" in name or name == "notes":
            raise ConfigError(f"{self.url}: a store of Qdrant cannot be named {name!r}")
        if name in self.stores():
            raise StoreError(f"{self.url} holds a store named {name!r} already")
        with self.working():
            self._client.create_collection(
                self._prefix + name,
                models.VectorParams(size=dim, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16),
            )
        return QdrantStore(self, self._client, self._prefix + name, dim)

    def drop(self, name: str) -> None:
        with self.working():
            if self._client.collection_exists(self._prefix + name):
                self._client.delete_collection(self._prefix + name)

    def notes(self) -> dict[str, str]:
        with self.working():
            points = list(_scrolled(self._client, self._notes, None, False))
        return {point.payload["name"]: point.payload["value"] for point in points}

    def note(self, changes: Mapping[str, str | None]) -> None:
        with self.working():
            written = [
                models.PointStruct(id=_point(name), vector=[1.0], payload={"name": name, "value": value})
                for name, value in changes.items()
                if value is not None
            ]
            if written:
                self._client.upsert(self._notes, written, wait=True)
            gone: list[Any] = [_point(name) for name, value in changes.items() if value is None]
            if gone:
                self._client.delete(self._notes, models.PointIdsList(points=gone), wait=True)

    def erase(self) -> None:
        for name in self.stores():
            self.drop(name)
        with self.working():
            self._client.delete_collection(self._notes)
        self.close()

    def close(self) -> None:
        with self._lock:
            self._client.close()

    @contextmanager
    def working(self) -> Iterator[None]:
        """One thread at a time.

        Raises:
            StoreError: what Qdrant complains of.
        """
        with self._lock:
            try:
                yield
            except (StoreError, ConfigError):
                raise
            except (ApiException, RuntimeError, OSError, ValueError) as error:
                raise StoreError(f"{self.url}: {error}") from error


class QdrantStore:
    """One collection."""

    def __init__(self, database: QdrantDatabase, client: QdrantClient, collection: str, dim: int) -> None:
        self.dim = dim
        self._database, self._client, self._collection = database, client, collection

    def upsert(self, rows: Sequence[Row]) -> None:
        check_rows(rows, self.dim)
        points = [
            models.PointStruct(
                id=_point(row.id),
                vector=row.vector.tolist(),
                payload={"id": row.id, "kind": row.kind, "metadata": dict(row.metadata)},
            )
            for row in rows
        ]
        if points:
            with self._database.working():
                self._client.upsert(self._collection, points, wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        points: list[Any] = [_point(id) for id in ids]
        if points:
            with self._database.working():
                self._client.delete(self._collection, models.PointIdsList(points=points), wait=True)

    def query(self, vector: Vectors, k: int, where: Filter | None = None) -> list[Scored]:
        vector = check_query(vector, k, self.dim)
        with self._database.working():
            found = self._client.query_points(
                self._collection, query=vector.tolist(), query_filter=self._compiled(where), limit=k
            ).points
        return [read_scored(self._database.url, *_about(point), point.score) for point in found]

    def get(self, ids: Sequence[str]) -> list[Row | None]:
        points: list[Any] = [_point(id) for id in ids]
        with self._database.working():
            found = self._client.retrieve(self._collection, points, with_vectors=True) if points else []
        rows = {row.id: row for row in map(self._row, found)}
        return [rows.get(id) for id in ids]

    def count(self, where: Filter | None = None) -> int:
        with self._database.working():
            return self._client.count(self._collection, count_filter=self._compiled(where), exact=True).count

    def known(self, where: Filter | None = None) -> Iterator[Known]:
        for point in self._scrolled(where, False):
            yield read_known(self._database.url, *_about(point))

    def rows(self, where: Filter | None = None) -> Iterator[Row]:
        for point in self._scrolled(where, True):
            yield self._row(point)

    def _row(self, point: Any) -> Row:
        return read_row(self._database.url, self.dim, *_about(point), point.vector)

    def _scrolled(self, where: Filter | None, with_vectors: bool) -> Iterator[Any]:
        with self._database.working():
            yield from _scrolled(self._client, self._collection, self._compiled(where), with_vectors)

    def verify(self) -> list[str]:
        return damaged(unchecked_row(*_about(point), point.vector) for point in self._scrolled(None, True))

    def compact(self) -> None:
        """Qdrant does so by itself."""

    def _compiled(self, where: Filter | None) -> models.Filter | None:
        return None if where is None else models.Filter(must=[self._condition(where)])

    def _condition(self, where: Filter) -> models.Condition:
        match where:
            case Eq(field, value):
                return _equal(field, value)
            case In(field, values):
                return models.Filter(should=[_equal(field, value) for value in values]) if values else _never()
            case Range(field, low, high) if not isinstance(low if low is not None else high, str):
                return models.FieldCondition(key=_key(field), range=models.Range(gte=low, lt=high))  # type: ignore[arg-type]
            case Range(field) | Prefix(field):
                return _among(field, self._values(field, where))
            case And(parts):
                return models.Filter(must=[self._condition(part) for part in parts])
            case Or(parts):
                return models.Filter(should=[self._condition(part) for part in parts]) if parts else _never()
            case Not(part):
                return models.Filter(must_not=[self._condition(part)])
        raise ConfigError(f"not a filter: {where!r}")

    def _values(self, field: str, where: Filter) -> list[str]:
        """The strings that a field has and that pass."""
        payload = ["kind"] if field == "kind" else [f"metadata.{field}"]
        found = set()
        for point in _scrolled(self._client, self._collection, None, False, payload):
            value = point.payload.get("kind") if field == "kind" else (point.payload.get("metadata") or {}).get(field)
            if isinstance(value, str) and matches(where, {field: value}):
                found.add(value)
        return sorted(found)


def _scrolled(
    client: QdrantClient, collection: str, where: models.Filter | None, with_vectors: bool, payload: Any = True
) -> Iterator[Any]:
    offset = None
    while True:
        points, offset = client.scroll(
            collection, where, limit=_AT_ONCE, offset=offset, with_payload=payload, with_vectors=with_vectors
        )
        yield from points
        if offset is None:
            return


def _point(name: str) -> str:
    return str(uuid.uuid5(NAMES, name))


def _about(point: Any) -> tuple[Any, Any, Any]:
    payload = point.payload or {}
    return payload.get("id"), payload.get("kind"), payload.get("metadata")


def _key(field: str) -> str:
    return "kind" if field == "kind" else f"metadata.{field}"


def _equal(field: str, value: Scalar) -> models.Condition:
    if isinstance(value, str):
        return models.FieldCondition(key=_key(field), match=models.MatchValue(value=value))
    if isinstance(value, int) and abs(value) > 2**53:  # floats, which ranges are of, would miss by some
        return models.FieldCondition(key=_key(field), match=models.MatchValue(value=value))
    return models.FieldCondition(key=_key(field), range=models.Range(gte=value, lte=value))


def _among(field: str, values: list[str]) -> models.Condition:
    if not values:
        return _never()
    return models.FieldCondition(key=_key(field), match=models.MatchAny(any=values))


def _never() -> models.Condition:
    return models.HasIdCondition(has_id=[])
