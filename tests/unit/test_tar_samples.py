"""The one reader of tar archives: order, packed and plain, and damage that must not pass for the end."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from babelclip.errors import DatasetError
from babelclip.tar_samples import read_entries, read_samples

FILES = {"a.jpg": b"A" * 700, "a.json": b'{"n": 1}', "sub/b.v2.PNG": b"B", "sub/b.v2.json": b'{"n": 2}'}
FORMS = ["tar", "tar.gz", "tar.bz2", "tar.xz"]


def write(path: Path, files: dict[str, bytes]) -> Path:
    packing = path.suffix.removeprefix(".")
    with tarfile.open(path, "w" if packing == "tar" else f"w:{packing}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_samples_in_order(tmp_path: Path, form: str) -> None:
    samples = list(read_samples(write(tmp_path / f"x.{form}", FILES), (".json",)))
    assert [(each.key, each.image.suffix, each.image.read(), each.note.record()) for each in samples] == [
        ("a", ".jpg", b"A" * 700, {"n": 1}),
        ("sub/b.v2", ".png", b"B", {"n": 2}),
    ]
    assert all((each.image.content is None) == (form == "tar") for each in samples)  # plain ones stay on the disk


def test_files_that_stand_apart_find_each_other(tmp_path: Path) -> None:
    files = {"a.jpg": b"A", "b.jpg": b"B", "b.json": b"{}", "c.json": b"{}", "a.json": b"{}", "c.jpg": b"C"}
    samples = list(read_samples(write(tmp_path / "x.tar", files), (".json",)))
    assert {each.key: each.image.read() for each in samples} == {"a": b"A", "b": b"B", "c": b"C"}


def test_the_first_kind_of_note_counts_and_other_files_are_passed_over(tmp_path: Path) -> None:
    files = {
        "a.jpg": b"A",
        "a.json": b"{}",
        "a.txt": b"one",
        "a.cls": b"1",
        "README": b"-",
        "b.png": b"",
        "b.json": b"{}",
    }
    samples = list(read_samples(write(tmp_path / "x.tar", files), (".txt", ".json")))
    assert [(each.key, each.note.suffix) for each in samples] == [("a", ".txt"), ("b", ".json")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.jpg": b"A", "a.json": b"{}", "b.jpg": b"B"},
            "a .json for every key; 1 have only one of them, such as 'b'",
        ),
        ({"a.json": b"{}"}, "such as 'a'"),
        ({"a.jpg": b"A", "a.png": b"A", "a.json": b"{}"}, "'a' are there twice"),
        ({"a.jpg": b"A", "a.json": b"{}", "b.jpg": b"B", "b.json": b"{}", "a.jpeg": b"A"}, "'a' are there twice"),
    ],
)
def test_what_does_not_pair_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(read_samples(write(tmp_path / "x.tar", files), (".json",)))


@pytest.mark.parametrize(
    ("content", "message"), [(b"[1]", "holds a list"), (b"{", "is no JSON"), (b"\xff", "is no UTF-8")]
)
def test_a_record_that_is_none_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "x.tar", {"a.jpg": b"A", "a.json": content})
    with pytest.raises(DatasetError, match=rf"x\.tar: a\.json {message}"):
        next(read_samples(path, (".json",))).note.record()


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path, form: str) -> None:
    """Anywhere: inside a header, inside a file, or where only the last file is missing its end."""
    noise = random.Random(0).randbytes(5_000)
    path = write(tmp_path / f"x.{form}", {f"{n}.{kind}": noise for n in range(3) for kind in ("jpg", "txt")})
    whole = path.read_bytes()
    for length in (0, 100, 700, len(whole) // 2, 5_600 + 200 if form == "tar" else len(whole) // 3):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"is no readable tar archive"):
            list(read_entries(path))


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path, form: str) -> None:
    """The standard library stops in silence there, and every later sample would be lost."""
    path = write(tmp_path / "x.tar", FILES)
    content = bytearray(path.read_bytes())
    at = content.index(b"sub/b.v2.PNG")
    content[at + 100] ^= 1
    path.write_bytes(content)
    if form == "tar.gz":
        import gzip

        path = tmp_path / "x.tar.gz"
        path.write_bytes(gzip.compress(bytes(content)))
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) == 2  # what would be lost
    with pytest.raises(DatasetError, match=f"header at byte {at:,} is damaged"):
        list(read_entries(path))


def test_an_archive_that_shrinks_after_it_was_read_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", FILES)
    entries = list(read_entries(path))
    os.truncate(path, 600)
    with pytest.raises(DatasetError, match=r"ends inside a\.jpg"):
        entries[0].read()


def test_no_archive_at_all(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.tar cannot be read: No such file"):
        list(read_entries(tmp_path / "absent.tar"))
