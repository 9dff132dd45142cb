"""Seals of a SQLite file: a checksum beside all that an answer is made of, and their sum, so that nothing is lost.

SQLite notices a broken page, not a changed byte. Every row, vector, code and mean carries the CRC-32 of its values and
of its place; ``seals`` holds how many there are and the sum of their checksums. Codes are looked at when they are
loaded, rows when a filter first reads them all, vectors when they rescore. Stores of format 1 have none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import StoreError
from babelclip.search.open_store import index_option
from babelclip.search.quantized_codes import PackedBits

SEALS = "CREATE TABLE IF NOT EXISTS seals (what TEXT PRIMARY KEY, count INTEGER NOT NULL, total INTEGER NOT NULL)"
_SEALED_BYTES = "CAST(id || char(0) || kind || char(0) || metadata AS BLOB)"
"""Of a row; put together by SQLite, because a filter waits until all rows have been looked at."""
SEALED_NOTES = "notes"
STORES = "stores"


_ODD = np.random.default_rng(20261130).integers(0, 2**63, 64, np.uint64) * np.uint64(2) + np.uint64(1)
"""Odd numbers, by which a multiplication loses nothing."""


class Damaged(StoreError):
    """Bytes that are no longer what was written; nothing is answered from them. Who knows the file tells the user."""


def damaged_file(path: Path, what: object) -> StoreError:
    """The error of a file that is damaged, with the way out."""
    return StoreError(
        f"the index {path} is damaged: {what}. Nothing is answered from it. Take that file away (the photos are "
        f"elsewhere and stay) and index your folders anew: babelclip index FOLDER{index_option(f'sqlite:{path}')}"
    )


def seal_of(*values: object) -> int:
    """The checksum of a row's values, in order."""
    total = 0
    for value in values:
        if type(value) is bytes:
            total = crc32(value, total)
        else:
            total = crc32(f"{value!r},".encode(errors="surrogatepass"), total)
    return total


def check(sealed: object, what: str, *values: object) -> None:
    """Compare a row with its seal.

    Raises:
        Damaged: it is another.
    """
    if seal_of(*values) != sealed:
        raise Damaged(f"{what} does not fit its checksum")


def read_total(cursor: sqlite3.Cursor, what: str) -> tuple[int, int]:
    """How many there are, and the sum of their seals.

    Raises:
        Damaged: it is not told.
    """
    found = cursor.execute("SELECT count, total FROM seals WHERE what = ?", (what,)).fetchone()
    if found is None or not all(isinstance(number, int) for number in found):
        raise Damaged(f"the sum of the checksums of its {what} is gone")
    return found[0], found[1]


def check_total(cursor: sqlite3.Cursor, what: str, count: int, total: int) -> None:
    """Compare what was read with what there should be.

    Raises:
        Damaged: something is lost, or comes twice.
    """
    expected = read_total(cursor, what)
    if expected != (count, total):
        raise Damaged(
            f"{expected[0]:,} {what} with the sum {expected[1]} were written, {count:,} with {total} are there"
        )


def add(cursor: sqlite3.Cursor, what: str, count: int, total: int) -> None:
    """Count what came (or went, below zero) into a sum."""
    known = cursor.execute(
        "UPDATE seals SET count = count + ?, total = total + ? WHERE what = ?", (count, total, what)
    ).rowcount
    if not known:
        raise Damaged(f"the sum of the checksums of its {what} is gone")


def begin(cursor: sqlite3.Cursor, *names: str) -> None:
    """Sums of nothing, where there are none yet."""
    cursor.execute(SEALS)
    cursor.executemany("INSERT OR IGNORE INTO seals VALUES (?, 0, 0)", ((name,) for name in names))


def are_kept(cursor: sqlite3.Cursor) -> bool:
    """Whether the file has seals: one of format 1 has none."""
    return cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'seals'").fetchone() is not None


def reseal(cursor: sqlite3.Cursor, what: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Take a sum anew over rows of values."""
    seals = [seal_of(*row) for row in rows]
    cursor.execute("INSERT OR REPLACE INTO seals VALUES (?, ?, ?)", (what, len(seals), sum(seals)))


def check_all(cursor: sqlite3.Cursor, what: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Look at rows whose sum is all that is kept of them.

    Raises:
        Damaged: they are others.
    """
    seals = [seal_of(*row) for row in rows]
    check_total(cursor, what, len(seals), sum(seals))


def is_sealed(cursor: sqlite3.Cursor, number: int) -> bool:
    """Whether the rows of a store have seals; those of format 1 have none.

    Raises:
        Damaged: those of a later one have none.
    """
    columns = {entry[1] for entry in cursor.execute(f"PRAGMA table_info(codes_{number})")}
    sealed = "seal" in columns
    if not sealed and cursor.execute("PRAGMA user_version").fetchone()[0] > 1 and not _is_of_format_1(cursor):
        raise Damaged("its rows have no checksums; an unfinished version of babelclip made it")
    return sealed


def _is_of_format_1(cursor: sqlite3.Cursor) -> bool:
    """Whether stores that were there before the first sealed one may lie in the file."""
    return are_kept(cursor)


def row_seal(row: int, id: str, kind: str, metadata: str) -> int:
    """The checksum of a row at its place; ``_SEALED_BYTES`` makes the same bytes within SQLite."""
    return crc32(f"{id}\0{kind}\0{metadata}".encode(errors="surrogatepass"), row & 0xFFFFFFFF)


def _former_row_seal(row: int, id: str, kind: str, metadata: str) -> int:
    """As the first files of format 2 have it; they are read as they are."""
    return crc32(f"{row},{id!r},{kind!r},{metadata}".encode(errors="surrogatepass"))


def check_row(seal: int, row: int, id: str, kind: str, metadata: str) -> None:
    """Compare the values of a row with its seal.

    Raises:
        Damaged: they are others.
    """
    if seal != row_seal(row, id, kind, metadata) and seal != _former_row_seal(row, id, kind, metadata):
        raise Damaged(f"row {row} does not fit its checksum")


def vector_seal(row: int, blob: bytes) -> int:
    """The checksum of a vector at its place."""
    return crc32(blob, row & 0xFFFFFFFF)


def check_vectors(found: Sequence[tuple[int, bytes, int]]) -> None:
    """Look at vectors: row, bytes and seal of each.

    Raises:
        Damaged: one is another.
    """
    try:
        wrong = [row for row, blob, seal in found if crc32(blob, row & 0xFFFFFFFF) != seal]
    except TypeError as error:
        raise Damaged(f"a vector is of another form ({error})") from error
    if wrong:
        raise Damaged(f"vector {wrong[0]} does not fit its checksum")


def check_rows_of(cursor: sqlite3.Cursor, number: int) -> None:
    """Look at all rows of a store.

    Raises:
        Damaged: one is another, or lost.
    """
    statement = f"SELECT row, {_SEALED_BYTES}, seal FROM rows_{number} NOT INDEXED"
    try:
        wrong = [row for row, sealed, seal in cursor.execute(statement) if crc32(sealed, row & 0xFFFFFFFF) != seal]
    except TypeError as error:
        raise Damaged(f"a row is of another form ({error})") from error
    if wrong:  # or sealed as the first files of format 2 are
        for row, id, kind, metadata, seal in cursor.execute(
            f"SELECT row, id, kind, metadata, seal FROM rows_{number} NOT INDEXED"
        ):
            check_row(seal, row, id, kind, metadata)
    count, total = cursor.execute(f"SELECT count(*), coalesce(sum(seal), 0) FROM rows_{number} NOT INDEXED").fetchone()
    check_total(cursor, f"rows_{number}", count, total)


def code_seals(rows: NDArray[np.int64], kinds: Sequence[str], codes: PackedBits) -> NDArray[np.int64]:
    """The checksums (N,) of codes (N, words), all at once: a change within one word is always seen.

    Args:
        rows: numbers of the rows (N,).
        kinds: of each row.
        codes: as they are stored.
    """
    of_kinds = {kind: crc32(repr(kind).encode(errors="surrogatepass")) for kind in set(kinds)}
    mixed = np.fromiter(map(of_kinds.__getitem__, kinds), np.uint64, len(kinds)) + rows.astype(np.uint64) * _ODD[0]
    shifted = np.empty_like(mixed)
    for number, words in enumerate(codes.T, start=1):  # in place: this is done for all rows when an index is opened
        mixed ^= words
        mixed *= _ODD[number % len(_ODD)]
        mixed ^= np.right_shift(mixed, np.uint64(29), out=shifted)
    return (mixed >> np.uint64(32)).astype(np.int64)
