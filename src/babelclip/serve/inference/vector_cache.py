"""Vectors that were computed before, by the content of what they are vectors of.

An entry's name is a hash of everything that the vector depends on: the model's fingerprint, how images are
prepared, what runs it, the task, and the bytes of the item. So an entry can be old but never wrong, and one folder may
serve several models. Whole raw vectors are kept: any width and any form is cut from them.

One SQLite file with a write-ahead log. Losing it costs time only, so it is not forced to the disk; each vector carries
a checksum, and one that does not match is computed again.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError
from babelclip.serve.access_log import LOGGER
from babelclip.serve.pricing import PricedItem, PricedText

_Compute = Callable[[Sequence[PricedItem]], Awaitable[list[Vectors | Exception]]]

FILE_NAME = "vectors-1.sqlite"  # the number is the version of its format
FRESH_SECONDS = 3600  # an entry that was used so lately is not marked as used again
_ROOM = 0.9  # how full it is after something was thrown out
_NAMES_A_QUERY = 500  # names in one question: SQLite's own limit is higher
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    name BLOB PRIMARY KEY NOT NULL,
    vector BLOB NOT NULL,       -- float32, little-endian, then its CRC-32
    used INTEGER NOT NULL       -- seconds since 1970
) WITHOUT ROWID
"""


def entry_name(namespace: str, kind: str, task: str | None, content: str | bytes) -> bytes:
    """The name of an item's entry.

    Args:
        namespace: everything that it depends on beside the item.
        kind: of the item.
        content: of the item.
        task: of a text.
    """
    body = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    head = "\0".join((namespace, kind, "" if task is None else f"={task}", str(len(body))))
    return hashlib.blake2b(head.encode() + b"\0" + body, digest_size=24).digest()


class VectorCache:
    """A folder of vectors. Safe to use from several threads, and next to other processes."""

    def __init__(self, folder: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        """Open the folder, or make it.

        Raises:
            ConfigError: the folder cannot be used.
        """
        self._clock, self._max_bytes = clock, max_bytes
        self._lock = threading.Lock()
        file = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=10)
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = OFF")
                self._database.execute(_SCHEMA)
            except BaseException:
                self._database.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the cache {file} cannot be used: {error}; remove it or name another folder") from error

    def get(self, names: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Those vectors (E,) that there are."""
        found: dict[bytes, Vectors] = {}
        now = int(self._clock())
        stale: list[bytes] = []
        with self._lock:
            for start in range(0, len(names), _NAMES_A_QUERY):
                part = names[start : start + _NAMES_A_QUERY]
                marks = ", ".join("?" * len(part))
                rows = self._database.execute(f"SELECT name, vector, used FROM vectors WHERE name IN ({marks})", part)
                for name, packed, used in rows.fetchall():
                    vector = _unpacked(packed)
                    if vector is not None:
                        found[name] = vector
                        if used < now - FRESH_SECONDS:
                            stale.append(name)
            if stale:
                self._database.executemany("UPDATE vectors SET used = ? WHERE name = ?", [(now, n) for n in stale])
        return found

    def put(self, vectors: Mapping[bytes, Vectors]) -> None:
        """Keep vectors; the longest unused ones go when it becomes too much."""
        now = int(self._clock())
        rows = [(name, _packed(vector), now) for name, vector in vectors.items()]
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                self._make_room()
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise

    def _make_room(self) -> None:
        number, each = self._database.execute("SELECT count(*), avg(length(vector) + 64) FROM vectors").fetchone()
        if number * (each or 0) > self._max_bytes:
            keep = int(_ROOM * self._max_bytes / each)
            self._database.execute(
                "DELETE FROM vectors WHERE name IN (SELECT name FROM vectors ORDER BY used LIMIT ?)", (number - keep,)
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """The cache as one model uses it. A cache that fails costs time, never an answer."""

    cache: VectorCache
    threads: Executor
    namespace: str
    looked_up: Callable[[int, int], None]  # hits, misses

    async def vectors(self, items: Sequence[PricedItem], compute: _Compute) -> list[Vectors | Exception]:
        """As ``compute`` gives them; errors are not stored. An item that is sent twice is computed once."""
        loop = asyncio.get_running_loop()
        names, found = await loop.run_in_executor(self.threads, self._look_up, items)
        missing = {name: item for name, item in zip(names, items, strict=True) if name not in found}
        self.looked_up(len(items) - len(missing), len(missing))
        if not missing:
            return [found[name] for name in names]
        computed = dict(zip(missing, await compute(list(missing.values())), strict=True))
        fresh = {name: vector for name, vector in computed.items() if not isinstance(vector, Exception)}
        await loop.run_in_executor(self.threads, self._store, fresh)
        return [found[name] if name in found else computed[name] for name in names]

    def _look_up(self, items: Sequence[PricedItem]) -> tuple[list[bytes], dict[bytes, Vectors]]:
        names = [self._name(item) for item in items]
        try:
            return names, self.cache.get(list(dict.fromkeys(names)))
        except sqlite3.Error as error:
            LOGGER.warning("cache_failed", extra={"fields": {"kind": type(error).__name__}})
            return names, {}

    def _name(self, item: PricedItem) -> bytes:
        if isinstance(item, PricedText):
            return entry_name(self.namespace, "text", item.task, item.text)
        if isinstance(item.content, bytes):
            return entry_name(self.namespace, "image", None, item.content)
        return entry_name(f"{self.namespace} {item.content.shape}", "pixels", None, item.content.tobytes())

    def _store(self, fresh: dict[bytes, Vectors]) -> None:
        try:
            self.cache.put(fresh)
        except sqlite3.Error as error:
            LOGGER.warning("cache_failed", extra={"fields": {"kind": type(error).__name__}})


def _packed(vector: Vectors) -> bytes:
    content = vector.astype("<f4").tobytes()
    return content + zlib.crc32(content).to_bytes(4, "little")


def _unpacked(packed: bytes) -> Vectors | None:
    content, checksum = packed[:-4], packed[-4:]
    if zlib.crc32(content).to_bytes(4, "little") != checksum:
        return None
    return np.frombuffer(content, "<f4").astype(np.float32)
