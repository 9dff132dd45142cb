"""Packs and names: what is read, and what is refused with a reason."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from babelclip.errors import DatasetError
from babelclip.evaluate.read_pack import read_names, read_pack


def test_a_pack_keeps_order_images_and_records(tmp_path: Path, write_pack) -> None:
    write_pack(
        "p.tar.gz",
        {
            "a.b/zwei": (b"IMAGE2", {"captions": {"de": ["Haus", "Heim"]}, "licence": "CC BY"}),
            "eins": (b"IMAGE1", {"label": "x:1", "licence": "CC BY"}),
        },
    )
    pack = read_pack(tmp_path, "p.tar.gz")
    assert [photo.key for photo in pack.photos] == ["a.b/zwei", "eins"]
    assert [photo.image for photo in pack.photos] == [b"IMAGE2", b"IMAGE1"]
    assert pack.photos[0].captions == {"de": ["Haus", "Heim"]}
    assert pack.photos[1].captions == {}
    assert pack.licenses == ("CC BY",)
    assert [file.path for file in pack.files] == ["p.tar.gz"]
    assert pack.files[0].sha256 == hashlib.sha256((tmp_path / "p.tar.gz").read_bytes()).hexdigest()


def test_an_image_without_record_is_named(tmp_path: Path, write_pack) -> None:
    write_pack("p.tar.gz", {"whole": (b"I", {}), "lonely": (b"I", None)})
    with pytest.raises(DatasetError, match="'lonely'"):
        read_pack(tmp_path, "p.tar.gz")


def test_an_empty_pack_is_refused(tmp_path: Path, write_pack) -> None:
    write_pack("p.tar.gz", {})
    with pytest.raises(DatasetError, match="no image at all"):
        read_pack(tmp_path, "p.tar.gz")


def test_absent_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"eval/x\.tar\.gz.*--data"):
        read_pack(tmp_path, "eval/x.tar.gz")


@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"no archive", mtime=0), b"\x1f\x8b\x08 cut off"]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.tar.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"p\.tar\.gz is no readable tar archive"):
        read_pack(tmp_path, "p.tar.gz")


def test_a_cut_off_pack_is_refused(tmp_path: Path, write_pack) -> None:
    import random

    noise = random.Random(0).randbytes(50_000)
    write_pack("p.tar.gz", {str(i): (noise, {}) for i in range(3)})
    whole = (tmp_path / "p.tar.gz").read_bytes()
    (tmp_path / "p.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"p\.tar\.gz is no readable tar archive"):
        read_pack(tmp_path, "p.tar.gz")


def test_names_leave_the_pseudo_language_out(tmp_path: Path, write_labels) -> None:
    write_labels({"x:1": {"en": "house", "en_alt": "home", "de": "Haus"}, "y:1": {"en": "other"}})
    names, file = read_names(tmp_path, "labels.json.gz", "x:")
    assert names == {"x:1": {"en": "house", "de": "Haus"}}
    assert file.path == "labels.json.gz"
    with pytest.raises(DatasetError, match="'z:'"):
        read_names(tmp_path, "labels.json.gz", "z:")
