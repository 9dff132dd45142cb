"""Whichever file is broken or hostile and whichever reader meets it: a sentence or an answer, never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint import fetch
from babelclip.cli.configuration import read_configuration
from babelclip.errors import BabelclipError
from babelclip.evaluate.prompts import TRANSLATED, WRITTEN_PLAIN, Templates
from babelclip.evaluate.read_clip_benchmark import open_clip_benchmark
from babelclip.evaluate.read_pack import LABELS, read_names, read_pack
from babelclip.evaluate.read_table import read_table
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.runtime.check_vector import CHECK_VECTORS, read_check_vectors
from babelclip.search.drives import drives_away
from babelclip.search.fuse import OwnCohorts
from babelclip.search.index_notes import read_folders, read_model
from babelclip.search.indexing import read_failures
from babelclip.tar_samples import read_samples
from babelclip.train.curve import read_log
from babelclip.train.data.captioned_images import open_captioned_images
from babelclip.train.data.stored_vectors import StoredVectors
from babelclip.train.data.table_rows import read_table_rows
from babelclip.train.data.text_rows import read_text_rows
from babelclip.train.linear_map import LinearMap
from babelclip.train.recipe import read_recipe

from .checkpoint.test_hostile_folders import opened
from .mutations import TEXTS, as_json, of_bytes, of_json, of_lines

ROOT = Path(__file__).parents[2]
Contents = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Reader:
    """A kind of file: where it lies, what it may hold, and what reads it."""

    name: str  # of the file, below a folder
    contents: Contents
    read: Callable[[Path], object]  # the folder


def bytes_of(good: bytes) -> Contents:
    return lambda: of_bytes(good)


def json_of(good: Any, wrap: Callable[[bytes], bytes] = lambda content: content) -> Contents:
    def contents() -> Iterator[bytes]:
        yield from map(wrap, TEXTS)
        yield from (wrap(as_json(value)) for value in of_json(good))

    return contents


def lines_of(good: str) -> Contents:
    def contents() -> Iterator[bytes]:
        yield from TEXTS
        yield from islice(of_lines(good), 0, None, 1 + good.count("\n") // 10)

    return contents


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


RECORD = {
    "captions": {"en": ["a dog"], "de": ["ein Hund"]},
    "caption_sources": {"en": ["people"]},
    "licence": "CC0",
    "label": "n01",
    "dup": False,
}
SHARD = {"a.jpg": b"pixels", "a.json": as_json(RECORD), "b.jpg": b"more", "b.txt": b"two\nlines"}


def record_of(mode: str) -> Contents:
    return json_of(RECORD, lambda content: tar_of({"a.jpg": b"pixels", "a.json": content}, mode))


def arrays(**given: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **given)
    return file.getvalue()


def huge_array(shape: str) -> bytes:
    """An archive with an array whose head promises more than any machine holds."""
    whole = arrays(ids=np.array(["a"]), vectors=np.zeros((1, 7), np.float32))
    return whole.replace(b"(1, 7), }" + b" " * len(shape), f"({shape}), }}".encode().ljust(9 + len(shape)))


def parquet(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def samples(folder: Path) -> None:
    for sample in read_samples(folder / "a.tar", (".json", ".txt")):
        assert isinstance(sample.image.read(), bytes)
        assert isinstance(sample.note.record() if sample.note.suffix == ".json" else sample.note.text(), dict | str)


def crossmodal(folder: Path) -> None:
    pack = read_pack(folder, "pack.tar.gz")
    assert pack.licenses is not None
    assert CrossmodalRetrieval("pack", pack, ["en"]).facts


class Notes:
    """A database of which the notes alone are asked."""

    def __init__(self, notes: dict[str, str]) -> None:
        self._notes = notes

    def notes(self) -> dict[str, str]:
        return self._notes


def note(name: str, read: Callable[[Any], object]) -> Callable[[Path], object]:
    return lambda folder: read(Notes({name: (folder / "note.json").read_bytes().decode("utf-8", "replace")}))


COHORTS = {"cohorts": {"image": {"mean": [0.5, 0.5], "dims": 2}}, "counts": {"image": 100}}
MODEL_NOTE = {"model": "m", "fingerprint": "f", "dim": 8, "orientation": "upright", "babelclip": "1", "format": 2}
ROW = {
    "anchor": "a",
    "positive": "b",
    "negatives": ["c", "d"],
    "scores": [1.0, 0.5, 0.1],
    "score": 0.5,
    "language": "en",
}
CAPTIONED = {"image": "a.jpg", "caption": "a dog", "language": "en", "label": "dog", "captions": {"en": ["a dog"]}}
PIN = {"revision": "a" * 40, "license": "mit", "files": ["config.json", "model.safetensors"]}
TEMPLATES = [f"{{c}} number {number}" for number in range(80)]
CONFIGURATION = '[all]\nthreads = 4\nindex = "x.db"\n[search]\ntop = 20\n[keys.create]\nbalance = "unlimited"\n'

READERS: dict[str, Reader] = {
    "tar archive": Reader("a.tar", bytes_of(tar_of(SHARD)), samples),
    "packed tar archive": Reader("a.tar", bytes_of(tar_of(SHARD, "w:gz")), samples),
    "record in an archive": Reader("a.tar", record_of("w"), samples),
    "record of a pack": Reader("pack.tar.gz", record_of("w:gz"), crossmodal),
    "shard to train on": Reader("a.tar", record_of("w"), lambda folder: open_captioned_images(folder / "a.tar")),
    "CLIP_benchmark shard": Reader(
        "set/test/0.tar",
        bytes_of(tar_of({"a.webp": b"pixels", "a.txt": b"a dog\n"})),
        lambda folder: open_clip_benchmark(folder / "set"),
    ),
    "CLIP_benchmark count": Reader(
        "set/test/nshards.txt",
        lambda: iter((*TEXTS, b"-1", b"1e9", b"9" * 30)),
        lambda f: open_clip_benchmark(f / "set"),
    ),
    "CLIP_benchmark kind": Reader(
        "set/dataset_type.txt", lambda: iter(TEXTS), lambda f: open_clip_benchmark(f / "set")
    ),
    "class names": Reader(
        LABELS,
        json_of({"n01": {"en": "dog", "de": "Hund"}}, gzip.compress),
        lambda folder: read_names(folder, LABELS, "n"),
    ),
    "class names, packed": Reader(
        LABELS, bytes_of(gzip.compress(b'{"n01": {"en": "dog"}}')), lambda folder: read_names(folder, LABELS, "n")
    ),
    "templates by people": Reader(
        WRITTEN_PLAIN["en"][0],
        json_of({"imagenet1k": TEMPLATES}),
        lambda f: Templates(f).choose("en", "plain"),
    ),
    "templates by machine": Reader(
        TRANSLATED,
        json_of({"DE": [f"{{}} {n}" for n in range(80)]}),
        lambda f: Templates(f).choose("de", "all"),
    ),
    "table to evaluate": Reader(
        "t.parquet", bytes_of(parquet(a=["x"], b=[1])), lambda folder: read_table(folder, "t.parquet", ["a", "b"])
    ),
    "stored vectors": Reader(
        "v.npz",
        bytes_of(arrays(ids=np.array(["a", "b"]), vectors=np.ones((2, 4), np.float32))),
        lambda folder: StoredVectors.read(folder / "v.npz").of(["a"]),
    ),
    "stored vectors of other types": Reader(
        "v.npz",
        lambda: iter(
            arrays(ids=ids, vectors=vectors)
            for ids in (np.array(["a"]), np.array([1]), np.array([["a"]]), np.array(None), np.array("a"))
            for vectors in (np.ones((1, 4)), np.array([["x"]]), np.ones((1, 0)), np.array([[1j]]), np.array([{}, 1]))
        ),
        lambda folder: StoredVectors.read(folder / "v.npz").of(["a"]),
    ),
    "stored vectors, huge": Reader(
        "v.npz",
        lambda: map(huge_array, ("1, 99999999999999", "999999999, 99", "-1, 7", "1, -7")),
        lambda folder: StoredVectors.read(folder / "v.npz"),
    ),
    "linear map": Reader(
        "m.npz",
        bytes_of(arrays(mean=np.ones(2, np.float32), matrix=np.ones((2, 2), np.float32))),
        lambda folder: LinearMap.read(folder / "m.npz"),
    ),
    "rows as JSON lines": Reader("r.jsonl", json_of(ROW), lambda f: read_text_rows(f / "r.jsonl", negatives=1)),
    "rows as CSV": Reader("r.csv", bytes_of(b"anchor,positive\na,b\nc,d\n"), lambda f: read_text_rows(f / "r.csv")),
    "rows as Parquet": Reader(
        "r.parquet",
        bytes_of(parquet(anchor=["a"], positive=["b"], score=[0.5])),
        lambda folder: list(read_table_rows(folder / "r.parquet")),
    ),
    "captions file": Reader("captions.jsonl", json_of(CAPTIONED), lambda folder: open_captioned_images(folder)),
    "check vectors": Reader(CHECK_VECTORS, json_of({"graph": [0.5, 0.5]}), read_check_vectors),
    "training log": Reader(
        "log.jsonl", json_of({"stage": "one", "step": 1, "loss": 0.5}), lambda folder: read_log(folder / "log.jsonl")
    ),
    "recipe": Reader(
        "r.toml",
        lines_of(
            (ROOT / "recipes" / "small.toml").read_text() if (ROOT / "recipes" / "small.toml").is_file() else "a = 1"
        ),
        lambda folder: read_recipe(folder / "r.toml"),
    ),
    "configuration": Reader("c.toml", lines_of(CONFIGURATION), lambda folder: read_configuration(folder / "c.toml")),
    "pins": Reader("pins.json", json_of({"org/name@main": PIN}), lambda _: fetch.fetch_model("org/name")),
    "index: folders": Reader(
        "note.json",
        json_of({"/photos": {"text": False, "hidden": False, "exclude": ["*.png"]}}),
        note("folders", lambda database: read_folders(database.notes())),
    ),
    "index: failures": Reader("note.json", json_of([["/a", "broken", 1, 2]]), note("failures", read_failures)),
    "index: drives": Reader("note.json", json_of(["/mnt"]), note("mounted", lambda notes: drives_away(notes, []))),
    "index: model": Reader(
        "note.json", json_of(MODEL_NOTE), note("model of x", lambda database: read_model(database.notes(), "x"))
    ),
    "index: cohorts": Reader(
        "note.json",
        json_of(COHORTS),
        note("cohorts", lambda kept: OwnCohorts.from_json(kept.notes()["cohorts"])),
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the readers need beside the file that is broken."""
    monkeypatch.setenv("BABELCLIP_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    (tmp_path / "set" / "test").mkdir(parents=True)
    (tmp_path / "eval" / "templates").mkdir(parents=True)
    (tmp_path / "set" / "dataset_type.txt").write_text("retrieval")
    (tmp_path / "set" / "test" / "nshards.txt").write_text("1")
    (tmp_path / "set" / "test" / "0.tar").write_bytes(tar_of({"a.webp": b"pixels", "a.txt": b"a dog\n"}))
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    return tmp_path


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_with_every_mutation(kind: str, folder: Path) -> None:
    reader, refused, tried = READERS[kind], 0, 0
    for content in reader.contents():
        (folder / reader.name).write_bytes(content)
        tried += 1
        try:
            reader.read(folder)
        except BabelclipError as error:
            refused += 1
            assert len(str(error)) < 6000, "a message is no dump"  # noqa: PT017
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__}: {error!s:.200} for {content[:300]!r}") from error
    assert refused > tried / 20, "what is mutated must matter"


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json", "reading.json", "onnx.json", "check-onnx.json"])
def test_every_value_of_a_model_folder(name: str, tmp_path: Path) -> None:
    good = json.loads((bundled_folder() / name).read_text())
    for path in bundled_folder().iterdir():
        if path.name != name:
            (tmp_path / path.name).symlink_to(path)
    for value in of_json(good, most=10):
        (tmp_path / name).write_bytes(as_json(value))
        try:
            opened(tmp_path)
        except BabelclipError as error:
            assert len(str(error)) < 6000  # noqa: PT017
