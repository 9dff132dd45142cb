"""Captioned images and rows of texts, in the forms that people have them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from babelclip.errors import DatasetError
from babelclip.train.data.captioned_images import open_captioned_images
from babelclip.train.data.text_rows import TextRow, read_text_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


ROWS = [("a.jpg", "a dog", "en"), ("a.jpg", "ein Hund", "de"), ("b.jpg", "a cat", "en"), ("a.jpg", "the dog", "en")]
EXPECTED = {"a.jpg": {"en": ["a dog", "the dog"], "de": ["ein Hund"]}, "b.jpg": {"en": ["a cat"]}}


def write_rows(path: Path) -> None:
    if path.suffix == ".jsonl":
        lines = [json.dumps({"image": i, "caption": c, "language": lang}) for i, c, lang in ROWS]
        path.write_text("\n".join([*lines, ""]))
    elif path.suffix == ".parquet":
        columns = dict(zip(("path", "text", "lang"), map(list, zip(*ROWS, strict=True)), strict=True))
        parquet.write_table(pa.table(columns), path)
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        path.write_text("\n".join(separator.join(row) for row in [("file_name", "caption", "lang"), *ROWS]))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_folder_with_a_captions_file(folder: Path, suffix: str) -> None:
    write_rows(folder / f"captions.{suffix}")
    images = open_captioned_images(folder)
    assert {image.read().decode(): dict(image.captions) for image in images} == EXPECTED
    assert images[0].where == str(folder / "a.jpg")
    assert images[0].name == images[0].meaning == "a.jpg"  # wherever the folder lies


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_shards(tmp_path: Path, suffix: str) -> None:
    record = json.dumps({"captions": {"en": ["x"], "de": []}}).encode()
    write_tar(tmp_path / f"0.{suffix}", {"k.webp": b"K" * 700, "k.json": record})
    write_tar(tmp_path / f"1.{suffix}", {"m.txt": b"one\n\ntwo\n", "m.png": b"M"})
    images = open_captioned_images(tmp_path)
    assert [(image.read()[:1], dict(image.captions)) for image in images] == [
        (b"K", {"en": ["x"]}),
        (b"M", {"und": ["one", "two"]}),
    ]
    assert images[1].where.endswith(f"1.{suffix}: m")
    assert images[1].name == "m"


def test_images_alone_need_no_captions_and_labels_say_what_they_mean(tmp_path: Path) -> None:
    records = {"k": {"captions": {}}, "m": {"captions": {"en": ["a dog"]}, "label": "in1k:207"}}
    for key, record in records.items():
        write_tar(tmp_path / f"{key}.tar", {f"{key}.webp": b"K", f"{key}.json": json.dumps(record).encode()})
    bare, labeled = open_captioned_images(tmp_path, need_captions=False)
    assert (bare.captions, bare.meaning, labeled.meaning) == ({}, "k", "in1k:207")
    with pytest.raises(DatasetError, match="expected a column caption or text"):
        open_captioned_images(tmp_path)


def test_what_is_wrong_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match="neither a captions file"):
        open_captioned_images(folder)
    captions = folder / "captions.csv"
    captions.write_text("image,caption\na.jpg,x\nmissing.jpg,y\n")
    with pytest.raises(DatasetError, match=r"missing\.jpg"):
        open_captioned_images(folder)
    captions.write_text("image,caption\na.jpg,\n")
    with pytest.raises(DatasetError, match="row 1: expected a column caption or text"):
        open_captioned_images(folder)
    captions.write_text("picture,caption\na.jpg,x\n")
    with pytest.raises(DatasetError, match="found picture, caption"):
        open_captioned_images(folder)
    write_rows(folder / "captions.jsonl")
    with pytest.raises(DatasetError, match="keep one"):
        open_captioned_images(folder)
    write_tar(folder / "x.tar", {"k.webp": b"K"})
    with pytest.raises(DatasetError, match="only one of them, such as 'k'"):
        open_captioned_images(folder / "x.tar")
    (folder / "y.tar").write_bytes(b"no archive")
    with pytest.raises(DatasetError, match=r"y\.tar"):
        open_captioned_images(folder / "y.tar")


def test_text_rows(tmp_path: Path) -> None:
    lines = [
        {"query": "q", "positive": "p", "negatives": ["n1", "n2", "n3"], "scores": [3, 1, 0, -1]},
        {"sentence1": "a", "sentence2": "b", "negative": "c", "score": 0.5},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert read_text_rows(tmp_path, negatives=1) == (
        TextRow("q", "p", ("n1",), None, (3.0, 1.0)),
        TextRow("a", "b", ("c",), 0.5, ()),
    )
    for settings, message in (
        ({"negatives": 2}, "row 2: expected 2 negatives"),
        ({"scored": True}, "row 1: expected a score"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_text_rows(tmp_path / "r.jsonl", **settings)
    (tmp_path / "r.jsonl").write_text('{"anchor": "a"}')
    with pytest.raises(DatasetError, match="expected a column positive"):
        read_text_rows(tmp_path)
    (tmp_path / "r.jsonl").write_text("{broken")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_text_rows(tmp_path)
