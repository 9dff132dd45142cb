"""The data of a run: what is held out, stored vectors, texts, class names, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from babelclip.errors import ConfigError, DatasetError
from babelclip.train.data.class_names import read_class_names
from babelclip.train.data.sources import DataSource, Sources
from babelclip.train.data.stored_vectors import StoredVectors, write_stored_vectors
from babelclip.train.data.texts import Text, read_texts
from babelclip.train.linear_map import LinearMap


@pytest.fixture
def data(tmp_path: Path) -> Path:
    lines = [json.dumps({"image": f"{number}.png", "caption": f"photo {number}"}) for number in range(20)]
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(b"")
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    return tmp_path


def sources(data: Path, held_out: float = 0.25, **more: DataSource) -> Sources:
    photos = DataSource(kind="captioned_images", path=".")
    return Sources({"photos": photos, "bare": DataSource(kind="images", path="."), **more}, data, held_out)


def test_what_is_held_out_is_not_trained_on(data: Path) -> None:
    opened = sources(data)
    held_out = [image.name for image in opened.held_out_images("photos")]
    assert len(held_out) == 5
    trained = [image.name for image in opened.images("photos")]
    assert len(trained) == 15
    assert not set(held_out) & set(trained)
    assert held_out == [image.name for image in sources(data).held_out_images("photos")]


def test_a_source_holds_out_its_own_share_and_bare_images_none(data: Path) -> None:
    own = DataSource(kind="captioned_images", path=".", held_out=0.0)
    opened = sources(data, own=own)
    assert len(opened.images("own")) == len(opened.images("bare")) == 20
    assert not opened.held_out_images("own")
    with pytest.raises(ConfigError, match=r"from 0 to 1, found 1\.5"):
        DataSource(kind="captioned_images", path=".", held_out=1.5)
    with pytest.raises(ConfigError, match="only captioned images are held out, not texts"):
        DataSource(kind="texts", path=".", held_out=0.5)


def test_unknown_names_and_wrong_kinds_are_named(data: Path) -> None:
    opened = sources(data)
    with pytest.raises(ConfigError, match="no data named 'photo'; it has photos, bare"):
        opened.images("photo")
    for ask in (opened.texts, opened.vectors, opened.class_names, opened.text_rows):
        with pytest.raises(ConfigError, match="'photos' is of kind 'captioned_images', expected '"):
            ask("photos")


def test_a_source_is_read_once(data: Path) -> None:
    write_stored_vectors(data / "v.npz", ["a"], np.ones((1, 2), np.float32))
    opened = sources(data, teacher=DataSource(kind="vectors", path="v.npz"))
    assert opened.vectors("teacher") is opened.vectors("teacher")


def test_stored_vectors_are_found_by_id(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    write_stored_vectors(path, ["a", "b", "ü"], np.array([[1, 2], [3, 4], [5, 6]], np.float16))
    stored = StoredVectors.read(path)
    assert (stored.width, "ü" in stored, "c" in stored) == (2, True, False)
    assert stored.of(["ü", "a"]).tolist() == [[5, 6], [1, 2]]
    assert stored.means([["a", "b"], ["b"]]).tolist() == [[2, 3], [3, 4]]
    stored.require(["a"], "an objective")
    with pytest.raises(DatasetError, match=r"an objective needs vectors of 2 items .* such as 'x'"):
        stored.require(["a", "x", "y"], "an objective")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.array(["a"])}, "holds no stored vectors"),
        ({"ids": np.array(["a"]), "vectors": np.ones((2, 3))}, r"found \(1,\) and \(2, 3\)"),
        ({"ids": np.array(["a", "a"]), "vectors": np.ones((2, 3))}, "stands there twice"),
    ],
)
def test_a_file_of_vectors_that_is_none_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        StoredVectors.read(tmp_path / "v.npz")
    with pytest.raises(DatasetError, match="there is no file"):
        StoredVectors.read(tmp_path / "w.npz")


@pytest.mark.parametrize("length", [0, 10, 200])
def test_a_part_of_a_file_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "v.npz"
    LinearMap(torch.zeros(2), torch.ones(2, 3)).write(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DatasetError, match="holds no stored vectors"):
        StoredVectors.read(path)
    with pytest.raises(DatasetError, match="holds no linear map"):
        LinearMap.read(path)


def test_texts_name_their_targets(tmp_path: Path) -> None:
    rows = [{"text": "a", "lang": "de", "targets": ["x", "y"]}, {"caption": "b", "target": 7}, {"text": "c"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = (Text("a", "de", ("x", "y")), Text("b", "und", ("7",)), Text("c", "und", ("c",)))
    assert read_texts(tmp_path / "t.jsonl") == expected
    (tmp_path / "t.jsonl").write_text('{"language": "en"}')
    with pytest.raises(DatasetError, match="row 1: expected a column text or caption"):
        read_texts(tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(DatasetError, match="has no rows"):
        read_texts(tmp_path / "t.jsonl")


def test_class_names_are_read_in_the_order_of_the_logits(tmp_path: Path) -> None:
    names = {"n1": {"en": "dog", "de": ["Hund", "Köter"]}, "n2": {"en": "cat"}}
    content = json.dumps(names).encode()
    (tmp_path / "n.json").write_bytes(content)
    (tmp_path / "n.json.gz").write_bytes(gzip.compress(content))
    for name in ("n.json", "n.json.gz"):
        found = read_class_names(tmp_path / name)
        assert found.number == 2
        assert found.by_language == {"en": {0: ["dog"], 1: ["cat"]}, "de": {0: ["Hund", "Köter"]}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("n.json", b"[1]", "is no file of class names"),
        ("n.json", b'{"a": "dog"}', "is no file of class names"),
        ("n.json", b"{}", "names no class"),
        ("n.json", b"{half", "is no file of class names"),
        ("n.json.gz", b"{}", "is no file of class names"),
        ("n.json.gz", gzip.compress(b'{"a": {"en": "dog"}}')[:-9], "is no file of class names"),
    ],
    ids=["a list", "bare names", "nothing", "half", "not packed", "half packed"],
)
def test_a_file_of_class_names_that_is_none_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match="there is no file"):
        read_class_names(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_class_names(tmp_path / name)
