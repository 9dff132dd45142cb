"""Vectors that were computed before, by the content of what they are vectors of.

An entry's name is a hash of everything that the vector depends on: the model's fingerprint, how it prepares texts and
images, what runs it, the task, and the bytes of the item. So an entry can be old but never wrong, and one folder may
serve several models. Whole raw vectors are kept: any width and any form is cut from them.

One SQLite file with a write-ahead log. Losing it costs time only, so it is not forced to the disk; each vector carries
a checksum, and one that does not match is computed again.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError

FILE_NAME = "vectors-1.sqlite"  # the number is the version of its form
FRESH_SECONDS = 3600  # an entry that was used so lately is not marked as used again
_ROOM = 0.9  # how full it is after something was thrown out
_AT_ONCE = 500  # names in one question: SQLite's own limit is higher
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    name BLOB PRIMARY KEY NOT NULL,
    vector BLOB NOT NULL,       -- float32, little-endian, then its CRC-32
    used INTEGER NOT NULL       -- seconds since 1970
) WITHOUT ROWID
"""


def entry_name(namespace: str, kind: str, task: str | None, content: str | bytes) -> bytes:
    """The name of an item's entry. ``namespace``: everything that it depends on beside the item."""
    body = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    head = "\0".join((namespace, kind, "" if task is None else f"={task}", str(len(body))))
    return hashlib.blake2b(head.encode() + b"\0" + body, digest_size=24).digest()


class VectorCache:
    """A folder of vectors. Safe to use from several threads, and next to other processes."""

    def __init__(self, folder: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        """Raises: ConfigError when the folder cannot be used."""
        self._clock, self._max_bytes = clock, max_bytes
        self._lock = threading.Lock()
        file = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=10)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the cache {file} cannot be used: {error}; remove it or name another folder") from error

    def get(self, names: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Those vectors (E,) that there are."""
        found: dict[bytes, Vectors] = {}
        now = int(self._clock())
        stale: list[bytes] = []
        with self._lock:
            for start in range(0, len(names), _AT_ONCE):
                part = names[start : start + _AT_ONCE]
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


def _packed(vector: Vectors) -> bytes:
    content = vector.astype("<f4").tobytes()
    return content + zlib.crc32(content).to_bytes(4, "little")


def _unpacked(packed: bytes) -> Vectors | None:
    content, checksum = packed[:-4], packed[-4:]
    if zlib.crc32(content).to_bytes(4, "little") != checksum:
        return None
    return np.frombuffer(content, "<f4").astype(np.float32)
