"""One suite for every database: rows, filters, order, all or nothing, reopening, readers beside a writer."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import babelclip
from babelclip.encoder import Encoder
from babelclip.errors import ConfigError, ModelDiffers, StoreError
from babelclip.search.export import export_rows
from babelclip.search.filters import And, Eq, Filter, In, Not, Or, Prefix, Range, matches
from babelclip.search.filters_on_index import LackingField, has_field, lacking_fields, refuse_unknown_fields
from babelclip.search.index import Index
from babelclip.search.index_notes import ModelNote
from babelclip.search.open_store import open_database
from babelclip.search.store import Database, Row, VectorStore, visible

FIXTURES = Path(__file__).parents[1] / "fixtures"
DIM = 32
ROUNDING = 2e-3
"""Stores keep 16-bit vectors: eleven bits of each number, errors of 32 numbers added up."""


@pytest.fixture(params=["sqlite", "postgresql", "lance", "qdrant"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty place, one per kind of database."""
    if request.param == "postgresql":
        address: str = request.getfixturevalue("postgres")
        schema = "t" + hashlib.blake2b(request.node.name.encode(), digest_size=8).hexdigest()
        return f"{address}{'&' if '?' in address else '?'}schema={schema}"
    graph_folders = {"sqlite": tmp_path / "index.db", "lance": tmp_path / "lance", "qdrant": tmp_path / "qdrant"}
    return f"{request.param}:{graph_folders[request.param]}"


def open_to_several(url: str) -> None:
    """Leave out what takes a second process or connection."""
    if url.startswith("qdrant:"):
        pytest.skip("Qdrant without a server is one process's alone")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = open_database(url, create=True)
    yield database
    database.close()


def test_an_index_of_a_qdrant_server_leaves_others_alone(tmp_path: Path) -> None:
    """Their collections lie side by side, and the name of one index may begin with that of another."""
    from qdrant_client import QdrantClient, models

    others = ["babelclip_b_1", "babelclip_b_notes", "photos_1"]
    client = QdrantClient(path=str(tmp_path / "q"))
    for name in others:
        client.create_collection(name, models.VectorParams(size=1, distance=models.Distance.DOT))
    client.close()
    database = open_database(f"qdrant:{tmp_path / 'q'}", create=True)
    database.create("1", DIM)
    assert database.stores() == ["1"]
    with pytest.raises(ConfigError, match="cannot be named 'b_1'"):
        database.create("b_1", DIM)
    database.erase()
    client = QdrantClient(path=str(tmp_path / "q"))
    assert sorted(each.name for each in client.get_collections().collections) == others
    client.close()


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return babelclip.load(threads=1)


@pytest.fixture
def former_index(url: str, tmp_path: Path) -> str:
    """An index as babelclip 0.1.0 made it before format 2: two photos and a text, 16 numbers each."""
    file = tmp_path / ("index.db" if url.startswith("sqlite:") else "former.db")
    file.write_bytes(gzip.decompress((FIXTURES / "indexes" / "format-1.db.gz").read_bytes()))
    if not url.startswith("sqlite:"):  # the other stores had the same rows and notes
        with closing(open_database(f"sqlite:{file}")) as former, closing(open_database(url, create=True)) as database:
            database.create("1", 16).upsert(list(former.open("1").rows()))
            database.note(former.notes())
    return url


def test_an_index_of_an_earlier_format_names_the_command(former_index: str, encoder: Encoder) -> None:
    """Its fingerprint left out preprocessing and tokenizer, so nobody knows whether vectors of today fit."""
    with pytest.raises(ModelDiffers) as refused:
        Index.open(former_index, encoder)
    message = str(refused.value)
    assert "babelclip 0.1.0 did not note how that model prepares texts and images" in message
    assert "babelclip index --reembed --dim 16 --index" in message
    with Index(open_database(former_index), encoder, dim=16) as unchecked:
        with pytest.raises(ModelDiffers):
            unchecked.search("a dog")
        with pytest.raises(ModelDiffers):
            unchecked.add()


def test_an_index_of_an_earlier_format_can_be_used_without_a_model(former_index: str) -> None:
    with Index.open(former_index, None) as index:
        assert index.count() == 3
        assert index.verify() == []
        own = index.vector_of("/photos/dog.png")
        assert own is not None
        assert index.search(own, 1, kinds=("image",))[0].path == "/photos/dog.png"
        assert index.remove([Path("/photos")]) == 3


def test_an_index_of_an_earlier_format_is_embedded_anew(former_index: str, encoder: Encoder, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "note.txt").write_text("a dog runs over the beach")
    with Index(open_database(former_index), encoder, dim=16) as index:
        index.database.note({"folders": json.dumps({str(photos): {"text": True, "hidden": False, "exclude": []}})})
        assert index.add(reembed=True).embedded == 1
    with Index.open(former_index, encoder) as index:
        assert [Path(hit.path).name for hit in index.search("a dog")] == ["note.txt"]
        assert index.database.stores() == ["2"]
        note = index.model()
        assert note is not None
        assert note.format == 2
        later = json.dumps({**asdict(note), "format": 3})
        index.database.note({"model of 2": later})
    with pytest.raises(StoreError, match="format 3, this version of babelclip knows 2: update it"):
        Index.open(former_index, encoder)
    if former_index.startswith("sqlite:"):  # an earlier babelclip leaves it alone
        with closing(sqlite3.connect(former_index.removeprefix("sqlite:"))) as file:
            assert file.execute("PRAGMA user_version").fetchone() == (3,)


@pytest.fixture
def store(database: Database) -> VectorStore:
    return database.create("1", DIM)


def unit_vectors(count: int, seed: int = 0, around: float = 0.0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(around, 1, (count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_rows(count: int, seed: int = 0, kind: str = "image", around: float = 0.0) -> list[Row]:
    """Rows with metadata of every type, some fields only on some, one field in two types."""
    rows = []
    for number, vector in enumerate(unit_vectors(count, seed, around)):
        metadata: dict[str, str | int | float] = {"path": f"/photos/{number % 7}/{number}.jpg", "size": number * 1000}
        if number % 2:
            metadata["taken"] = f"20{10 + number % 15}-06-30T12:00:00"
        if number % 3 == 0:
            metadata["camera"] = ["Pixel 8", "Ωmega 'x'", 'q"uote', "相机"][number % 4]
        if number % 5 == 0:
            metadata["latitude"] = number / 7 - 3
        metadata["mixed"] = str(number) if number % 2 else number
        rows.append(Row(f"{kind}-{number}", kind, vector, metadata))
    return rows


def ids(rows: object) -> list[str]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def test_finds_the_nearest_best_first_with_their_cosines(store: VectorStore) -> None:
    rows = make_rows(300)
    store.upsert(rows)
    for query in unit_vectors(20, seed=1):
        hits = store.query(query, 10)
        scores = np.array([row.vector @ query for row in rows])
        best = np.argsort(-scores)[:10]
        assert [hit.score for hit in hits] == pytest.approx(scores[best], abs=ROUNDING)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        by_id = {row.id: row for row in rows}
        for hit in hits:
            assert hit.score == pytest.approx(float(by_id[hit.id].vector @ query), abs=ROUNDING)
            assert (hit.kind, dict(hit.metadata)) == ("image", dict(by_id[hit.id].metadata))


def test_a_query_of_any_length_gives_cosines(store: VectorStore) -> None:
    store.upsert(make_rows(10))
    query = unit_vectors(1, seed=3)[0]
    assert [hit.score for hit in store.query(query * 9, 5)] == pytest.approx(
        [hit.score for hit in store.query(query, 5)], abs=1e-6
    )


def test_gives_all_where_there_are_fewer_than_wanted(store: VectorStore) -> None:
    assert store.query(unit_vectors(1)[0], 5) == []
    store.upsert(make_rows(3))
    assert len(store.query(unit_vectors(1)[0], 5)) == 3


def test_an_upsert_takes_the_place_of_rows_with_its_ids(store: VectorStore) -> None:
    store.upsert(make_rows(20))
    new = make_rows(1, seed=9)[0]
    store.upsert([Row("image-4", "text", new.vector, {"path": "/new"})])
    assert store.count() == 20
    found = store.get(["image-4", "no such", "image-5"])
    assert found[0] is not None
    assert (found[0].kind, dict(found[0].metadata)) == ("text", {"path": "/new"})
    assert found[0].vector == pytest.approx(new.vector, abs=ROUNDING)
    assert found[1] is None
    assert found[2] is not None
    assert store.query(new.vector, 1)[0].id == "image-4"


def test_deleted_rows_are_found_no_more(store: VectorStore) -> None:
    rows = make_rows(50)
    store.upsert(rows)
    store.query(rows[7].vector, 1)
    store.delete(["image-7", "no such", "image-8"])
    assert store.count() == 48
    assert store.get(["image-7"]) == [None]
    assert "image-7" not in ids(store.query(rows[7].vector, 50))
    assert "image-7" not in ids(store.known())
    store.upsert([rows[7]])
    assert store.query(rows[7].vector, 1)[0].id == "image-7"


FILTERS: list[Filter] = [
    Eq("kind", "image"),
    Eq("path", "/photos/3/10.jpg"),
    Eq("camera", "相机"),
    Eq("camera", "Ωmega 'x'"),
    Eq("camera", 'q"uote'),
    Eq("size", 5000),
    Eq("size", 5000.0),
    Eq("mixed", 4),
    Eq("mixed", "4"),
    Eq("mixed", "5"),
    Eq("nowhere", 1),
    In("camera", ("Pixel 8", "nobody")),
    In("mixed", (2, "3", 4, "4")),
    In("camera", ()),
    Range("taken", "2015", "2018-07"),
    Range("taken", low="2020-06-30T12:00:00"),
    Range("taken", high="2012"),
    Range("size", 3000, 9000),
    Range("size", low=2999.5),
    Range("latitude", -2, 0.5),
    Range("mixed", low=10),
    Range("mixed", low="2"),
    Range("mixed", high="2"),
    Prefix("path", "/photos/3/"),
    Prefix("path", "/photos/%"),
    Prefix("path", ""),
    Prefix("mixed", "1"),
    Range("mine", low="1"),
    Prefix("taken", "201"),
    And((Range("taken", "2012"), Range("taken", high="2018-06-30T12"))),
    Not(Eq("camera", "Pixel 8")),
    Not(Range("taken", "2015", "2018")),
    Not(Prefix("path", "/photos/3/")),
    Not(In("mixed", (2, "3"))),
    And(()),
    Or(()),
    Not(Or(())),
    And((Prefix("path", "/photos/"), Range("size", 1000, 20000), Not(Eq("camera", "Pixel 8")))),
    Or((Eq("camera", "相机"), And((Eq("kind", "text"), Range("taken", low="2014"))))),
    Not(And((Eq("kind", "text"), Not(Eq("mixed", 4))))),
]


@pytest.fixture
def filled(store: VectorStore) -> tuple[VectorStore, list[Row]]:
    rows = [*make_rows(60), *make_rows(40, seed=2, kind="text")]
    store.upsert(rows)
    return store, rows


@pytest.mark.parametrize("where", FILTERS, ids=repr)
def test_filters_mean_the_same_everywhere(filled: tuple[VectorStore, list[Row]], where: Filter) -> None:
    store, rows = filled
    passing = [row for row in rows if matches(where, visible(row))]
    assert sorted(ids(store.known(where))) == sorted(ids(passing))
    assert sorted(ids(store.rows(where))) == sorted(ids(passing))
    assert store.count(where) == len(passing)
    query = unit_vectors(1, seed=5)[0]
    best = sorted(passing, key=lambda row: -float(row.vector @ query))[:5]
    assert [hit.score for hit in store.query(query, 5, where)] == pytest.approx(
        [float(row.vector @ query) for row in best], abs=ROUNDING
    )


def test_rows_that_lack_a_field_are_counted(filled: tuple[VectorStore, list[Row]]) -> None:
    """Of every field that a row may lack, by a plain count; not of fields whose lack lets a row pass."""
    store, rows = filled
    for field in ("taken", "camera", "latitude", "width", "mixed", "size"):
        lacking = sum(field not in row.metadata for row in rows)
        where: Filter = has_field(field) & Not(Eq("path", "/a")) & Not(Range("turned", 6))
        expected = [LackingField(field, lacking, len(rows))] if lacking else []
        assert lacking_fields(store, where) == expected
        assert store.count(has_field(field)) == len(rows) - lacking
    texts = [row for row in rows if row.kind == "text"]
    undated = LackingField("taken", sum("taken" not in row.metadata for row in texts), len(texts))
    assert lacking_fields(store, Range("taken", "2020"), ("text",)) == [undated]
    assert lacking_fields(store, Not(Range("taken", "2020"))) == []


def test_a_field_that_no_row_has_is_refused(filled: tuple[VectorStore, list[Row]], database: Database) -> None:
    store, _ = filled
    for known in (Eq("mixed", "5"), Eq("width", 5), Not(Eq("camera", "x"))):
        refuse_unknown_fields(store, known)
    for where in (Eq("camra", "Pixel 8"), Not(Eq("camra", "x")), Or((Eq("size", 1), Range("camra", "a")))):
        with pytest.raises(ConfigError, match="nothing in the index has a field 'camra'; was 'camera' meant"):
            refuse_unknown_fields(store, where)
    refuse_unknown_fields(database.create("2", DIM), Eq("camra", "x"))  # nothing is there yet


@pytest.mark.parametrize("field", ["taken", "size"])
def test_a_known_field_of_another_type_is_not_stored(store: VectorStore, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        store.upsert([Row("a", "image", unit_vectors(1)[0], {field: 5 if field == "taken" else "5"})])


def test_filters_hold_before_the_nearest_are_chosen(store: VectorStore) -> None:
    """Among thousands that are nearer, the few that pass are found."""
    near = unit_vectors(1, seed=7)[0]
    crowd = [near + 0.05 * noise for noise in unit_vectors(3000, seed=8)]
    rows = [Row(f"c{i}", "image", v / np.linalg.norm(v), {"path": f"/crowd/{i}"}) for i, v in enumerate(crowd)]
    few = [Row(f"f{i}", "image", v, {"path": f"/few/{i}"}) for i, v in enumerate(unit_vectors(5, seed=9))]
    store.upsert(rows)
    store.upsert(few)
    assert sorted(ids(store.query(near, 5, Prefix("path", "/few/")))) == [f"f{i}" for i in range(5)]


def test_far_kinds_are_found_among_each_other(store: VectorStore) -> None:
    """Two kinds in cones of their own: the nearest of each is found, however the other lies."""
    images, texts = make_rows(2500, seed=1, around=0.7), make_rows(2500, seed=2, kind="text", around=-0.7)
    store.upsert(images)
    store.upsert(texts)
    missed = 0
    for query in unit_vectors(20, seed=3, around=0.3):
        for kind, rows in (("image", images), ("text", texts)):
            best = {row.id for row in sorted(rows, key=lambda row: -float(row.vector @ query))[:10]}
            missed += len(best - set(ids(store.query(query, 10, Eq("kind", kind)))))
    assert missed <= 0.01 * 400


@pytest.mark.parametrize(
    "row",
    [
        Row("", "image", unit_vectors(1)[0], {}),
        Row("a", "image", unit_vectors(1)[0][:8], {}),
        Row("a", "image", np.full(DIM, np.nan, np.float32), {}),
        Row("a", "image", unit_vectors(1)[0] * 2, {}),
        Row("a", "image", unit_vectors(1)[0], {"flag": True}),
        Row("a", "image", unit_vectors(1)[0], {"x": float("nan")}),
        Row("a", "image", unit_vectors(1)[0], {"x": 2**63}),
        Row("a", "image", unit_vectors(1)[0], {"bad name": 1}),
        Row("a", "image", unit_vectors(1)[0], {"x": "nul\x00"}),
        Row("a", "image", unit_vectors(1)[0], {"x": "\udc80"}),
        Row("a", "image", unit_vectors(1)[0], {"kind": "image"}),
    ],
)
def test_a_wrong_row_is_refused_and_no_other_is_written(store: VectorStore, row: Row) -> None:
    with pytest.raises(ConfigError):
        store.upsert([*make_rows(3), row])
    assert store.count() == 0


def test_the_same_id_twice_in_one_upsert_is_refused(store: VectorStore) -> None:
    with pytest.raises(ConfigError, match="twice"):
        store.upsert([*make_rows(2), make_rows(1)[0]])


@pytest.mark.parametrize("query", [np.zeros(DIM, np.float32), np.full(DIM, np.nan, np.float32), np.ones(5, np.float32)])
def test_a_wrong_query_is_refused(store: VectorStore, query: np.ndarray) -> None:
    with pytest.raises(ConfigError):
        store.query(query, 3)


def test_a_reopened_database_has_all(url: str) -> None:
    database = open_database(url, create=True)
    database.create("1", DIM).upsert(make_rows(30))
    database.note({"answering": "1", "ünïcode": "wert"})
    database.close()
    again = open_database(url)
    assert again.stores() == ["1"]
    assert again.notes() == {"answering": "1", "ünïcode": "wert"}
    store = again.open("1")
    assert store.dim == DIM
    assert store.count() == 30
    assert store.verify() == []
    assert store.query(make_rows(30)[3].vector, 1)[0].id == "image-3"
    again.close()


IMPOSSIBLE = {
    "not a number": np.full(DIM, np.nan, np.float32),
    "infinite": np.full(DIM, np.inf, np.float32),
    "some not numbers": np.array([np.nan] + [DIM**-0.5] * (DIM - 1), np.float32),
    "nothing": np.zeros(DIM, np.float32),
    "too long": np.full(DIM, 1.0, np.float32),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@np.errstate(all="ignore")
def test_a_vector_that_can_be_none_is_no_answer(
    url: str, database: Database, store: VectorStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a store lets it in at all, or makes one of length one of it, which is what Qdrant does."""
    store.upsert(make_rows(5))
    monkeypatch.setattr(f"{type(store).__module__}.check_rows", lambda rows, dim: None)
    try:
        store.upsert([Row("bad", "image", IMPOSSIBLE[name], {})])
    except StoreError:
        return
    listed = store.verify()
    if not listed:
        bad = store.get(["bad"])[0]
        assert bad is not None
        assert abs(np.linalg.norm(bad.vector) - 1) < ROUNDING
        return
    assert "'bad'" in listed[0]
    for read in (lambda: store.get(["bad"]), lambda: list(store.rows())):
        with pytest.raises(StoreError, match=r"is damaged: .*babelclip index FOLDER"):
            read()
    try:
        hits = store.query(unit_vectors(1)[0], 6)
    except StoreError as error:
        assert "is damaged" in str(error)  # noqa: PT017 - a store that leaves it out of the order is right too
    else:
        assert all(np.isfinite(hit.score) and abs(hit.score) < 1 + ROUNDING for hit in hits)


def test_notes_change_and_go(database: Database) -> None:
    database.note({"a": "1", "b": "2"})
    database.note({"a": "3", "b": None, "c": ""})
    assert database.notes() == {"a": "3", "c": ""}


def test_stores_stand_beside_each_other(database: Database) -> None:
    first, second = database.create("1", DIM), database.create("2", 8)
    first.upsert(make_rows(5))
    assert (first.count(), second.count(), second.dim) == (5, 0, 8)
    assert sorted(database.stores()) == ["1", "2"]
    with pytest.raises(StoreError):
        database.create("1", DIM)
    database.drop("1")
    database.drop("1")
    assert database.stores() == ["2"]
    with pytest.raises(StoreError):
        database.open("1")
    with pytest.raises(StoreError):
        first.query(unit_vectors(1)[0], 1)


def test_an_absent_database_is_an_error(url: str) -> None:
    with pytest.raises(StoreError):
        open_database(url)


def test_an_erased_database_is_gone(url: str) -> None:
    database = open_database(url, create=True)
    database.create("1", DIM).upsert(make_rows(3))
    database.erase()
    with pytest.raises(StoreError):
        open_database(url)


def test_compacted_rows_stay(store: VectorStore) -> None:
    rows = make_rows(400)
    store.upsert(rows)
    store.delete([f"image-{number}" for number in range(0, 400, 2)])
    store.compact()
    assert store.count() == 200
    assert store.verify() == []
    assert store.query(rows[3].vector, 1)[0].id == "image-3"


def test_readers_beside_a_writer_see_whole_batches(url: str) -> None:
    """Each batch is ten rows: a reader with a connection of its own counts only tens."""
    open_to_several(url)
    writer = open_database(url, create=True)
    store = writer.create("1", DIM)
    reader = open_database(url)
    reading, counts, stop = reader.open("1"), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            counts.append(reading.count())
            reading.query(unit_vectors(1)[0], 3)

    thread = threading.Thread(target=read)
    thread.start()
    rows = make_rows(200)
    for start in range(0, 200, 10):
        store.upsert(rows[start : start + 10])
        store.delete([row.id for row in rows[start : start + 10]])
        store.upsert(rows[start : start + 10])
    stop.set()
    thread.join()
    assert counts
    assert all(count % 10 == 0 for count in counts)
    assert reading.count() == 200
    assert {hit.id for row in rows[::20] for hit in reading.query(row.vector, 1)} == {row.id for row in rows[::20]}
    reader.close()
    writer.close()


def test_threads_share_a_store(store: VectorStore) -> None:
    rows = make_rows(400)
    failures: list[str] = []

    def work(part: list[Row]) -> None:
        for row in part:
            store.upsert([row])
            if store.query(row.vector, 1)[0].id != row.id:
                failures.append(row.id)

    threads = [threading.Thread(target=work, args=(rows[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.count() == 400


def test_many_rows_are_all_iterated(store: VectorStore) -> None:
    store.upsert(make_rows(9000))
    assert len(set(ids(store.known()))) == 9000
    assert len(list(itertools.islice(store.rows(Eq("kind", "image")), 5000))) == 5000


def test_an_index_of_postgresql_finds_what_comparing_all_finds(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from babelclip.search.stores import postgres as adapter

    monkeypatch.setattr(adapter, "INDEX_FROM", 500)
    database = open_database(
        f"{postgres}&schema=indexed" if "?" in postgres else f"{postgres}?schema=indexed", create=True
    )
    store = database.create("1", DIM)
    images, texts = make_rows(3000, around=0.5), make_rows(400, seed=2, kind="text", around=-0.5)
    store.upsert([*images, *texts])
    queries = unit_vectors(20, seed=3)
    exact = [[hit.score for hit in store.query(query, 10)] for query in queries]
    few = [[hit.score for hit in store.query(query, 10, Prefix("path", "/photos/3/"))] for query in queries]
    store.compact()
    assert isinstance(database, adapter.PostgresDatabase)
    with database.working() as cursor:
        assert store._indexed_kinds(cursor) == ["image"]  # type: ignore[attr-defined]
    for query, expected, filtered in zip(queries, exact, few, strict=True):
        assert [hit.score for hit in store.query(query, 10)] == pytest.approx(expected, abs=1e-4)
        found = [hit.score for hit in store.query(query, 10, Prefix("path", "/photos/3/"))]
        assert found == pytest.approx(filtered, abs=1e-4)
    store.delete([row.id for row in images[:1000]])
    assert store.query(images[5].vector, 1)[0].id != "image-5"
    database.erase()


def test_rows_can_be_exported(store: VectorStore, tmp_path: Path) -> None:
    store.upsert(make_rows(40))
    where = Range("size", 10_000, None)
    file = tmp_path / "rows.jsonl"
    assert export_rows(store.rows(where), ModelNote("m", "f", DIM), file) == store.count(where) == 30
    exported = {line["id"]: line for line in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    for row in store.rows(where):
        line = exported.pop(row.id)
        assert np.array_equal(np.array(line["vector"], np.float32), row.vector)
        assert {"path": line["path"], **line["metadata"]} == row.metadata
    assert not exported
