"""Checksums of blocks of 1,024 rows of a SQLite store, so that a filter, which reads all rows, costs little to trust.

SQLite joins the values of a column within a block, so one checksum is taken of them instead of one of each row, and a
filter looks at those columns alone that it reads. A block that is written to is looked at before, so that damage is
never sealed as it is. Stores of format 2 get blocks at their next write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from zlib import crc32

from babelclip.search.stores.sqlite_schema import BLOCK_COLUMNS, BLOCKS_SCHEMA, FILE_FORMAT
from babelclip.search.stores.sqlite_seals import Damaged, add, begin, check_rows_of, check_total, read_total

_BITS = 10
_SIZE = 1 << _BITS
_Seals = tuple[object, ...]


def are_blocked(cursor: sqlite3.Cursor, number: int) -> bool:
    """Whether a store has checksums of blocks; the caller is inside the transaction that needs to know."""
    named = "SELECT 1 FROM sqlite_master WHERE name = ?"
    return cursor.execute(named, (f"blocks_{number}",)).fetchone() is not None


def check_columns(cursor: sqlite3.Cursor, number: int, columns: Collection[str] = BLOCK_COLUMNS) -> None:
    """Look at columns of all rows of a store; at whole rows, one by one, where it has no blocks.

    Args:
        cursor: inside a transaction.
        number: of the store.
        columns: some of ``BLOCK_COLUMNS``.

    Raises:
        Damaged: a value is another, or a row lost.
    """
    if not are_blocked(cursor, number):
        check_rows_of(cursor, number)
        return
    names = sorted(columns)
    every = cursor.execute(f"SELECT block, {', '.join(BLOCK_COLUMNS)} FROM blocks_{number}").fetchall()
    if any(type(value) is not int for entry in every for value in entry):
        raise Damaged("its checksums of blocks are of another form")
    check_total(cursor, f"blocks_{number}", len(every), sum(sum(entry[1:]) for entry in every))
    places = [1 + BLOCK_COLUMNS.index(name) for name in names]
    count = sum(_check(cursor, number, entry[0], names, tuple(entry[place] for place in places)) for entry in every)
    expected = read_total(cursor, f"rows_{number}")[0]
    if count != expected:
        raise Damaged(f"{expected:,} rows were written, {count:,} are there")


@contextmanager
def changing(cursor: sqlite3.Cursor, number: int, rows: Iterable[int]) -> Iterator[None]:
    """Look at the blocks of rows before they are changed, or come in, and take their checksums after.

    Raises:
        Damaged: a row of theirs is another, or lost.
    """
    blocks = {row >> _BITS for row in rows}
    if are_blocked(cursor, number):
        for block in blocks:
            _check(cursor, number, block, BLOCK_COLUMNS, _kept(cursor, number, block))
    else:
        _begin(cursor, number)
    yield
    _renew(cursor, number, blocks)


def _begin(cursor: sqlite3.Cursor, number: int) -> None:
    """Give a store of format 2 its blocks."""
    check_rows_of(cursor, number)
    cursor.execute(BLOCKS_SCHEMA.format(n=number))
    begin(cursor, f"blocks_{number}")
    cursor.execute(f"PRAGMA user_version = {FILE_FORMAT}")
    blocks = cursor.execute(f"SELECT DISTINCT row >> {_BITS} FROM rows_{number} NOT INDEXED").fetchall()
    _renew(cursor, number, {block for (block,) in blocks})


def _renew(cursor: sqlite3.Cursor, number: int, blocks: Iterable[int]) -> None:
    for block in blocks:
        old, (count, new) = _kept(cursor, number, block), _seals(cursor, number, block, BLOCK_COLUMNS)
        cursor.execute(f"DELETE FROM blocks_{number} WHERE block = ?", (block,))
        if count:
            marks = ", ".join("?" * len(new))
            cursor.execute(f"INSERT INTO blocks_{number} VALUES (?, {marks})", (block, *new))
        add(cursor, f"blocks_{number}", bool(new) - bool(old), _sum(new) - _sum(old))


def _sum(seals: _Seals) -> int:
    if any(type(seal) is not int for seal in seals):
        raise Damaged("its checksums of blocks are of another form")
    return sum(seal for seal in seals if isinstance(seal, int))


def _kept(cursor: sqlite3.Cursor, number: int, block: int) -> _Seals:
    """The checksums of a block as they are stored; none where it should be empty."""
    listed = f"SELECT {', '.join(BLOCK_COLUMNS)} FROM blocks_{number} WHERE block = ?"
    found: _Seals | None = cursor.execute(listed, (block,)).fetchone()
    return found or ()


def _check(cursor: sqlite3.Cursor, number: int, block: int, names: Collection[str], sealed: _Seals) -> int:
    """The count of rows in a block that is as it was written."""
    count, seals = _seals(cursor, number, block, names)
    if seals != sealed:
        first = block << _BITS
        raise Damaged(f"rows {first:,} to {first + _SIZE - 1:,} do not fit their checksum")
    return count


def _seals(cursor: sqlite3.Cursor, number: int, block: int, names: Collection[str]) -> tuple[int, _Seals]:
    """How many rows a block has, and the checksum of each column; none where there are no rows."""
    first = block << _BITS
    columns = ", ".join(_joined(name) for name in names)
    statement = f"SELECT count(*), sum(row), {columns} FROM rows_{number} NOT INDEXED WHERE row BETWEEN ? AND ?"
    count, places, *parts = cursor.execute(statement, (first, first + _SIZE - 1)).fetchone()
    if not count:
        return 0, ()
    start = crc32(f"{count},{places}".encode())
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return count, tuple(crc32(f"{joined}".encode(), crc32(f"{texts}".encode(), start)) for joined, texts in pairs)


def _joined(column: str) -> str:
    """The values of a column as one text, and how many are texts.

    One changed bit makes bytes of a text, which join to the same text and yet equal none: no bytes are below bytes.
    """
    texts = "0" if column == "metadata" else f"sum({column} < x'')"  # bytes are no JSON, of which SQLite tells
    return f"group_concat({column}, '\x1f'), {texts}"
