"""Bytes of an index file that change by themselves: an answer is right, or refused with the way out."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from babelclip.errors import StoreError
from babelclip.search.filters import And, Eq, Filter, Not, Prefix, Range
from babelclip.search.open_store import open_database
from babelclip.search.store import Row
from babelclip.search.stores.sqlite import SqliteDatabase

DIM, ROWS, PAGE = 24, 600, 4096
WHERE: list[Filter | None] = [None, Eq("kind", "image"), Range("taken", "2015"), Eq("camera", "B")]
Damage = Callable[[bytearray, random.Random], None]


def rows() -> list[Row]:
    vectors = np.random.default_rng(0).normal(0.2, 1, (ROWS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    facts = [
        {"path": f"/photos/{number}.jpg", "taken": f"20{10 + number % 15}-06-30T12:00:00", "camera": "ABC"[number % 3]}
        for number in range(ROWS)
    ]
    kinds = ["image" if number % 4 else "text" for number in range(ROWS)]
    return [
        Row(f"r{i}", kind, vector, fact)
        for i, (kind, vector, fact) in enumerate(zip(kinds, vectors, facts, strict=True))
    ]


def written(path: Path) -> bytes:
    """A file with some history: rows that were replaced and taken out, and means that were taken."""
    with_rows = rows()
    database = open_database(f"sqlite:{path}", create=True)
    store = database.create("1", DIM)
    store.upsert(with_rows[:500])
    store.upsert(with_rows[450:])
    store.delete([f"r{number}" for number in range(0, ROWS, 7)])
    database.note({"answering": "1", "cohorts of 1": "x" * 2000, "folders": '{"/photos": {}}'})
    store.compact()
    database.close()
    return path.read_bytes()


def flip_a_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def change_some_bytes(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content) - 16)
    content[start : start + 16] = chance.randbytes(16)


def zero_a_page(content: bytearray, chance: random.Random) -> None:
    start = PAGE * chance.randrange(len(content) // PAGE)
    content[start : start + PAGE] = bytes(PAGE)


def repeat_a_page(content: bytearray, chance: random.Random) -> None:
    one, other = (PAGE * chance.randrange(len(content) // PAGE) for _ in range(2))
    content[one : one + PAGE] = content[other : other + PAGE]


def cut_the_end(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def answers(path: Path) -> list[object]:
    """All that a search reads: notes, the nearest under each filter, a row by its id, counts."""
    database = open_database(f"sqlite:{path}")
    try:
        found: list[object] = [database.notes()]
        store = database.open("1")
        for query in np.random.default_rng(1).normal(size=(2, DIM)).astype(np.float32):
            for where in WHERE:
                hits = store.query(query, 5, where)
                found.append([(hit.id, hit.kind, dict(hit.metadata), hit.score) for hit in hits])
        found += [store.count(where) for where in WHERE]
        row = store.get(["r5"])[0]
        return [*found, None if row is None else (row.kind, dict(row.metadata), row.vector.tolist())]
    finally:
        database.close()


@pytest.mark.parametrize(
    ("damage", "cases"),
    [(flip_a_bit, 150), (change_some_bytes, 150), (zero_a_page, 40), (repeat_a_page, 60), (cut_the_end, 40)],
)
def test_a_damaged_file_answers_rightly_or_not_at_all(tmp_path: Path, damage: Damage, cases: int) -> None:
    path = tmp_path / "index.db"
    whole = written(path)
    right = answers(path)
    refused = 0
    for case in range(cases):
        content = bytearray(whole)
        damage(content, random.Random(case))
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.write_bytes(content)
        try:
            assert answers(path) == right, (damage.__name__, case)
        except StoreError:
            refused += 1
    assert refused > cases // 20


def test_the_message_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    content = written(path)
    kept = rows()[5].vector.astype(np.float16).tobytes()
    assert content.count(kept) == 1
    path.write_bytes(content.replace(kept, np.full(DIM, np.nan, np.float16).tobytes()))
    with pytest.raises(StoreError, match=r"index.db is damaged: vector \d+ does not fit .*babelclip index FOLDER"):
        answers(path)
    database = open_database(f"sqlite:{path}")
    assert "r5" in database.open("1").verify()[0]
    database.close()


def test_vectors_lost_with_their_codes_are_missed(tmp_path: Path) -> None:
    """Every table by itself is whole: only the sums tell."""
    path = tmp_path / "index.db"
    written(path)
    file = sqlite3.connect(path)
    for table in ("codes", "vectors", "rows"):
        file.execute(f"DELETE FROM {table}_1 WHERE row IN (SELECT row FROM vectors_1 ORDER BY row LIMIT 1)")
    file.commit()
    file.close()
    with pytest.raises(StoreError, match=r"were written, .* are there"):
        answers(path)


SAME_JSON = "metadata = CAST(metadata AS BLOB)"
"""Some versions of SQLite read it as the JSON that it is, and answer rightly; others refuse."""
DAMAGES = [
    "kind = CAST(kind AS BLOB)",  # a single bit does so; joined with others it is the same text
    "kind = 'text'",
    "metadata = replace(metadata, '\"A\"', '\"B\"')",
    "metadata = replace(metadata, '2010', '2015')",
    SAME_JSON,
    "metadata = replace(metadata, '/photos', '/phosot')",
    "row = row + 100000",
]
FILTERS: list[Filter] = [
    And((Eq("kind", "image"), Eq("camera", "A"))),
    Range("taken", "2015", "2016"),
    Prefix("path", "/photos/"),
    Not(Eq("camera", "B")),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_filter_sees_what_it_reads_or_refuses(tmp_path: Path, damage: str) -> None:
    """Whatever of a row has changed: each filter by itself, since each looks at its own columns."""
    path = tmp_path / "index.db"
    written(path)
    right = [passing(path, where) for where in FILTERS]
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE rows_1 SET {damage} WHERE id = 'r15'")
    refused = 0
    for where, expected in zip(FILTERS, right, strict=True):
        try:
            assert passing(path, where) == expected, where
        except StoreError:
            refused += 1
    assert refused or damage == SAME_JSON


def passing(path: Path, where: Filter) -> int:
    database = open_database(f"sqlite:{path}")
    try:
        return database.open("1").count(where)
    finally:
        database.close()


def test_what_is_damaged_is_not_sealed_by_a_write_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    written(path)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE rows_1 SET metadata = '{}' WHERE id = 'r15'")
    database = open_database(f"sqlite:{path}")
    for change in (lambda store: store.delete(["r16"]), lambda store: store.upsert(rows()[16:17])):
        with pytest.raises(StoreError, match=r"rows 0 to 1,023 do not fit their checksum.*babelclip index FOLDER"):
            change(database.open("1"))
    database.close()


def test_an_index_of_format_2_answers_and_gets_blocks_when_it_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    written(path)
    right = answers(path)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP TABLE blocks_1")
        file.execute("DELETE FROM seals WHERE what = 'blocks_1'")
        file.execute("PRAGMA user_version = 2")
    assert answers(path) == right
    database = open_database(f"sqlite:{path}")
    database.open("1").upsert(rows()[5:6])
    assert database.open("1").verify() == []
    database.close()
    stay = [row for number, row in enumerate(rows()) if number % 7]
    assert passing(path, Eq("camera", "B")) == sum(row.metadata["camera"] == "B" for row in stay)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (3,)
        assert file.execute("SELECT count(*) FROM blocks_1").fetchone()[0] > 0
        file.execute("UPDATE rows_1 SET metadata = '{}' WHERE id = 'r15'")
        file.commit()
    with pytest.raises(StoreError, match="do not fit their checksum"):
        passing(path, Eq("camera", "B"))


def test_a_statement_that_was_not_read_to_its_end_holds_up_no_other(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "index.db", create=True)
    with database.reading() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # answers with a row that nobody reads
    assert database.notes() == {}
    assert cursor is not None, "it lives as long as a thread that was interrupted holds it"
