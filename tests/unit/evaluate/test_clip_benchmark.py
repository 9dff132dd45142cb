"""Sets in CLIP_benchmark's layout: both kinds by hand, and what is missing."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from babelclip.errors import DatasetError
from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.read_clip_benchmark import open_clip_benchmark


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def classified(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    write_shard(folder / "test" / "0.tar", {"a.webp": b"A", "a.cls": b"1", "b.jpg": b"B", "b.cls": b"0\n"})
    write_shard(folder / "test" / "1.tar", {"c.png": b"C", "c.cls": b"1"})
    (folder / "test" / "nshards.txt").write_text("2")
    (folder / "classnames.txt").write_text("cat\ndog\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}.\nthe {c}.\n")
    return folder


def test_recognition_by_name(classified: Path, table_encoder) -> None:
    vectors = {b"A": [0, 1], b"B": [1, 0], b"C": [1, 0.1]}
    vectors |= {"a cat.": [1, 0], "the cat.": [1, 0], "a dog.": [0, 1], "the dog.": [0, 1]}
    task = open_clip_benchmark(classified)
    scores = {score.metric: score for score in task.run(EncodeOnce(table_encoder(vectors)), seed=0)}
    assert (scores["top1"].value, scores["top1"].count) == (pytest.approx(200 / 3), 3)
    assert [file.path for file in task.facts.data][:2] == ["pets/test/0.tar", "pets/test/1.tar"]
    assert task.facts.name == "pets"


def test_retrieval(tmp_path: Path, table_encoder) -> None:
    folder = tmp_path / "photos"
    write_shard(
        folder / "test" / "0.tar", {"a.jpg": b"A", "a.txt": b"one\n two \n\n", "b.jpg": b"B", "b.txt": b"three"}
    )
    (folder / "test" / "nshards.txt").write_text("1\n")
    (folder / "dataset_type.txt").write_text("retrieval\n")
    encoder = table_encoder({b"A": [1, 0], b"B": [0, 1], "one": [1, 0], "two": [0, 1], "three": [0, 1]})
    task = open_clip_benchmark(folder, language="sw")
    scores = {score.metric: score for score in task.run(EncodeOnce(encoder), seed=0)}
    found = scores["text_to_image_recall@1"]
    assert (found.language, found.value, found.count) == ("sw", pytest.approx(200 / 3), 3)


def test_what_is_missing_or_unknown_is_named(classified: Path) -> None:
    (classified / "dataset_type.txt").write_text("multilabel")
    with pytest.raises(DatasetError, match="'multilabel'; expected 'retrieval'"):
        open_clip_benchmark(classified)
    (classified / "dataset_type.txt").unlink()
    (classified / "zeroshot_classification_templates.txt").write_text("a photo\n")
    with pytest.raises(DatasetError, match=r"one \{c\} in each template, found 'a photo'"):
        open_clip_benchmark(classified)
    (classified / "classnames.txt").write_text("cat\n")
    (classified / "zeroshot_classification_templates.txt").write_text("a {c}\n")
    with pytest.raises(DatasetError, match="1 labels of photos have no name, such as '1'"):
        open_clip_benchmark(classified)
    write_shard(classified / "test" / "1.tar", {"c.png": b"C"})
    with pytest.raises(DatasetError, match="1 have only one of them, such as 'c'"):
        open_clip_benchmark(classified)
    (classified / "test" / "1.tar").unlink()
    with pytest.raises(DatasetError, match=r"1\.tar cannot be read"):
        open_clip_benchmark(classified)
    (classified / "test" / "nshards.txt").unlink()
    with pytest.raises(DatasetError, match=r"nshards\.txt"):
        open_clip_benchmark(classified)
