"""An index over real files and the bundled model: changes are noticed, failures harm nothing, models do not mix."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.encoder import Encoder
from babelclip.errors import ConfigError, ModelDiffers, StoreError
from babelclip.prepare.image import ImagePreparer
from babelclip.search.filters import Eq, Range
from babelclip.search.index import Index
from babelclip.search.open_store import open_database
from babelclip.search.query import Query
from babelclip.search.walk import Wanted

ALBUM = Path(__file__).parents[3] / "src" / "babelclip" / "demo" / "photos"


class Counting:
    """The encoder, counting what it embeds."""

    def __init__(self, encoder: Encoder, counted: list[str] | None = None) -> None:
        self._encoder = encoder
        self.counted: list[str] = [] if counted is None else counted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def upright(self) -> Counting:
        return Counting(self._encoder.upright(), self.counted)

    def stream(self, items: Any, *, kind: str = "auto", dim: int | None = None) -> Any:
        for item in self._encoder.stream(items, kind=kind, dim=dim):  # type: ignore[arg-type]
            self.counted.append(kind)
            yield item


class OtherModel(Counting):
    """As if it had other weights."""

    def upright(self) -> OtherModel:
        return OtherModel(self._encoder.upright(), self.counted)

    def facts(self) -> dict[str, Any]:
        return {**self._encoder.facts(), "fingerprint": "another"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def counting(encoder: Encoder) -> Counting:
    return Counting(encoder)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'index.db'}"


@pytest.fixture
def index(url: str, counting: Counting) -> Iterator[Index]:
    with Index.open(url, counting, create=True) as opened:
        yield opened


def indexed(index: Index) -> set[str]:
    store = index.store()
    return set() if store is None else {str(row.metadata["path"]) for row in store.known()}


def test_finds_photos_in_several_languages(index: Index) -> None:
    report = index.add([ALBUM])
    assert report.embedded == len(list(ALBUM.glob("*.webp"))) == index.count()
    assert index.verify() == []
    for query, name in (("a dog", "dog.webp"), ("Zebras", "zebra.webp"), ("一只猫", "cat.webp")):
        hits = index.search(query, 5)
        if (ALBUM / name).exists():
            assert name in {Path(hit.path).name for hit in hits}, query
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(hit.kind == "image" and Path(hit.path).is_absolute() for hit in hits)


def test_stored_vectors_are_the_encoders(index: Index, encoder: Encoder) -> None:
    files = sorted(ALBUM.glob("*.webp"))[:5]
    index.add(files)
    for file in files:
        assert index.vector_of(file) == pytest.approx(encoder.encode_image(file), abs=1e-3)
        assert index.search(Query.image(file), 1)[0].path == str(file)
        assert index.search(Query.image(file), 1)[0].score == pytest.approx(1, abs=1e-3)


def test_only_changes_are_embedded(index: Index, counting: Counting, make_photo: Any, photos: Path) -> None:
    for number in range(6):
        make_photo(f"{number}.jpg", number)
    assert index.add([photos]).embedded == 6
    before = len(counting.counted)
    report = index.add([photos])
    assert (report.unchanged, report.embedded, len(counting.counted)) == (6, 0, before)

    make_photo("2.jpg", 99)
    (photos / "moved").mkdir()
    shutil.move(photos / "3.jpg", photos / "moved" / "3.jpg")
    shutil.copy(photos / "4.jpg", photos / "copy of 4.jpg")
    (photos / "5.jpg").unlink()
    os.utime(photos / "0.jpg", ns=(1, 1))
    report = index.add([photos])
    assert (report.unchanged, report.embedded, report.known_by_content, report.removed) == (2, 1, 3, 2)
    assert len(counting.counted) == before + 1
    assert indexed(index) == {str(path) for path in photos.rglob("*.jpg")}
    moved = index.search(Query.image(photos / "moved" / "3.jpg"), 1)[0]
    assert moved.path == str(photos / "moved" / "3.jpg")
    assert index.verify() == []


def test_a_moved_photo_keeps_its_vector_to_the_bit(index: Index, make_photo: Any, photos: Path) -> None:
    path = make_photo("a.jpg", 1)
    index.add([photos])
    before = index.vector_of(path)
    path.rename(photos / "b.jpg")
    index.add([photos])
    assert np.array_equal(before, index.vector_of(photos / "b.jpg"))  # type: ignore[arg-type]
    assert index.vector_of(path) is None


def test_failures_are_named_and_tried_again_when_they_change(
    index: Index, counting: Counting, make_photo: Any, photos: Path
) -> None:
    make_photo("good.jpg", 1)
    broken = make_photo("broken.jpg", 2)
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    (photos / "empty.png").touch()
    report = index.add([photos])
    assert report.embedded == 1
    assert {Path(failure.path).name for failure in report.failures} == {"broken.jpg", "empty.png"}
    assert all(failure.reason for failure in report.failures)

    before = len(counting.counted)
    report = index.add([photos])
    assert len(report.failures) == 2
    assert len(counting.counted) == before, "an unchanged broken file is not read again"

    broken.write_bytes(whole)
    report = index.add([photos])
    assert (report.embedded, len(report.failures)) == (1, 1)
    assert indexed(index) == {str(photos / "good.jpg"), str(broken)}

    broken.write_bytes(whole[:100])
    report = index.add([photos])
    assert indexed(index) == {str(photos / "good.jpg")}, "a file that broke is found no longer by what it was"


def test_folders_inside_each_other_keep_their_own_options(index: Index, make_photo: Any, photos: Path) -> None:
    make_photo("a.jpg", 1)
    make_photo("notes/b.jpg", 2)
    (photos / "notes" / "b.txt").write_text("a bridge at dawn")
    index.add([photos / "notes"], Wanted(text=True))
    report = index.add([photos])
    assert report.removed == 0
    assert {Path(path).name for path in indexed(index)} == {"a.jpg", "b.jpg", "b.txt"}
    assert index.add().removed == 0
    assert index.add([photos / "notes"], Wanted(text=False)).removed == 1


def test_a_folder_that_cannot_be_looked_at_keeps_its_rows(index: Index, make_photo: Any, photos: Path) -> None:
    make_photo("a.jpg", 1)
    make_photo("loop/b.jpg", 2)
    index.add([photos])
    shutil.rmtree(photos / "loop")
    (photos / "loop").symlink_to("loop")
    report = index.add([photos])
    assert [Path(failure.path).name for failure in report.failures] == ["loop"]
    assert {Path(path).name for path in indexed(index)} == {"a.jpg", "b.jpg"}


def test_an_absent_folder_is_an_error_and_when_all_are_gone_over_a_failure(
    index: Index, make_photo: Any, photos: Path
) -> None:
    with pytest.raises(ConfigError, match="no such"):
        index.add([photos / "nowhere"])
    make_photo("here/a.jpg", 1)
    make_photo("drive/b.jpg", 2)
    index.add([photos / "here", photos / "drive"])
    (photos / "drive").rename(photos / "unplugged")
    report = index.add()
    assert [failure.path for failure in report.failures] == [str(photos / "drive")]
    assert index.count() == 2, "a drive that is not plugged in is no reason to forget its photos"


def test_photos_are_upright_whatever_the_model_does(url: str, encoder: Encoder, photos: Path) -> None:
    preparer = encoder.image_preparer
    assert preparer is not None
    careless = copy(encoder)
    careless.image_preparer = ImagePreparer(replace(preparer.config, orientation="ignore"))
    photos.mkdir()
    picture = Image.open(ALBUM / "dog.webp").convert("RGB")
    picture.save(photos / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(photos / "turned.png", exif=exif)
    with Index.open(url, careless, create=True) as index:
        index.add([photos])
        upright, turned = (index.vector_of(photos / name) for name in ("upright.png", "turned.png"))
        model = index.model()
    assert upright is not None
    assert turned is not None
    assert float(upright @ turned) > 0.999
    assert float(upright @ careless.encode_image(photos / "turned.png")) < 0.99, "the model itself does not turn it"
    assert model is not None
    assert model.orientation == "upright"


def test_exif_can_be_filtered(index: Index, photos: Path) -> None:
    photos.mkdir()
    picture = Image.open(ALBUM / "dog.webp").convert("RGB")
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Google", "Pixel 8"
    exif.get_ifd(0x8769)[0x9003] = "2024:07:01 12:30:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "W", 4: (2.0, 30.0, 0.0)})
    picture.save(photos / "exif.jpg", exif=exif)
    picture.save(photos / "plain.jpg")
    index.add([photos])
    assert [Path(hit.path).name for hit in index.search("dog", 5, Range("taken", "2024", "2025"))] == ["exif.jpg"]
    hit = index.search("dog", 5, Eq("camera", "Google Pixel 8"))[0]
    assert hit.metadata["taken"] == "2024-07-01T12:30:00"
    assert hit.metadata["latitude"] == pytest.approx(48.858333)
    assert hit.metadata["longitude"] == pytest.approx(-2.5)
    assert index.search("dog", 5, Eq("camera", "Nikon")) == []


def test_texts_are_cut_into_pieces(index: Index, photos: Path) -> None:
    photos.mkdir()
    long = "\n\n".join(
        f"Paragraph {number}. " + "The bridge stands over the river at dawn. " * 12 for number in range(8)
    )
    (photos / "long.txt").write_text(long)
    (photos / "empty.txt").write_text("  \n")
    (photos / "binary.txt").write_bytes(b"\xff\x00\x80\x81")
    report = index.add([photos], Wanted(text=True))
    assert (report.embedded, len(report.failures)) == (1, 2)
    assert index.count() >= 4
    rows = list(index.store().rows())  # type: ignore[union-attr]
    assert " ".join(" ".join(str(row.metadata["text"]) for row in rows).split()) == " ".join(long.split())
    assert index.search("a bridge", 3)[0].kind == "text"
    (photos / "long.txt").write_text("short now")
    index.add([photos])
    assert [hit.metadata["text"] for hit in index.search("anything", 9)] == ["short now"]


def test_rows_of_two_versions_of_a_file_are_no_whole_file(index: Index, photos: Path, make_photo: Any) -> None:
    """What a store without transactions keeps of an edit when its writer is killed."""
    file = make_photo("a.jpg", 1).with_name("a.txt")
    store: list[Any] = []
    for word in ("bridge", "mountain"):
        file.write_text(" ".join([word] * 300))
        index.add([photos], Wanted(text=True))
        store.append(sorted(index.store().rows(Eq("kind", "text")), key=lambda row: row.id))  # type: ignore[union-attr]
    before, after = store
    assert len(before) == len(after) > 1
    index.store().upsert([*after[:1], *before[1:]])  # type: ignore[union-attr]
    copy = file.with_name("z.txt")
    copy.write_text(" ".join(["bridge"] * 300))
    report = index.add([photos])
    assert (report.embedded, report.known_by_content) == (2, 0)
    words = {hit.path: set(hit.metadata["text"].split()) for hit in index.search("a word", 99, kinds=["text"])}  # type: ignore[union-attr]
    assert words == {str(file): {"mountain"}, str(copy): {"bridge"}}


def test_another_model_is_refused_with_the_way_out(index: Index, url: str, encoder: Encoder, make_photo: Any) -> None:
    make_photo("a.jpg", 1)
    index.add([make_photo("b.jpg", 2).parent])
    other = OtherModel(encoder)
    with pytest.raises(ModelDiffers, match="index --reembed"):
        Index.open(url, other)
    with pytest.raises(ModelDiffers, match="dim 384, not 64"):
        Index.open(url, encoder, dim=64)


@pytest.mark.parametrize("file", ["preprocessing.json", "tokenizer.json"])
def test_the_same_weights_with_another_preparation_are_another_model(
    file: str, url: str, make_photo: Any, exported_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Such vectors are far from the right ones, and nothing else would tell."""
    folder = tmp_path / "model"
    shutil.copytree(exported_folder("small_int8"), folder)
    with Index.open(url, babelclip.load(folder, runtime="torch"), create=True) as index:
        index.add([make_photo("a.jpg").parent])
    changed = json.loads((folder / file).read_text())
    if file == "preprocessing.json":
        changed["image"]["alpha"] = "drop"
    else:
        changed["added_tokens"][-1]["lstrip"] = not changed["added_tokens"][-1]["lstrip"]
    (folder / file).write_text(json.dumps(changed))
    with pytest.raises(ModelDiffers, match="fingerprint"):
        Index.open(url, babelclip.load(folder, runtime="torch"))


def test_reembedding_answers_with_the_old_vectors_until_it_is_done(
    index: Index, url: str, encoder: Encoder, make_photo: Any, photos: Path
) -> None:
    for number in range(5):
        make_photo(f"{number}.jpg", number)
    index.add([photos])
    other = OtherModel(encoder)
    answered: list[int] = []

    with Index(open_database(url), other) as anew:
        report = anew.add(reembed=True, progress=lambda done, total: answered.append(len(index.search("dog", 9))))
    assert report.embedded == 5
    assert answered
    assert set(answered) == {5}
    with pytest.raises(ModelDiffers):
        index.search("dog")
    make_photo("late.jpg", 9)
    with pytest.raises(ModelDiffers):
        index.add([photos])
    with Index.open(url, other) as opened:
        assert len(opened.search("dog", 9)) == 5, "no vector of the model before is among those of the new one"
        assert opened.database.stores() == ["2"]


def test_a_search_that_a_reembedding_overtakes_is_answered_by_the_new_vectors(
    index: Index, url: str, encoder: Encoder, make_photo: Any, photos: Path
) -> None:
    for number in range(3):
        make_photo(f"{number}.jpg", number)
    index.add([photos])

    class Slow(Counting):
        """Another process puts narrower vectors in the place of the old ones while it embeds the query."""

        def upright(self) -> Slow:
            return self

        def encode_text(self, text: str) -> Any:
            if not self.counted:
                self.counted.append("text")
                with Index(open_database(url), encoder, dim=64) as other:
                    other.add(reembed=True)
            return self._encoder.encode_text(text)

    with Index.open(url, Slow(encoder)) as slow:
        assert len(slow.search("dog", 9)) == 3
        assert slow.store().dim == 64  # type: ignore[union-attr]


def test_a_stopped_reembedding_goes_on(url: str, index: Index, encoder: Encoder, make_photo: Any, photos: Path) -> None:
    for number in range(4):
        make_photo(f"{number}.jpg", number)
    index.add([photos])

    class Stopping(OtherModel):
        def upright(self) -> Stopping:
            return self

        def stream(self, items: Any, *, kind: str = "auto", dim: int | None = None) -> Any:
            for number, item in enumerate(self._encoder.stream(items, kind=kind, dim=dim)):  # type: ignore[arg-type]
                if number == 2:
                    raise KeyboardInterrupt
                yield item

    with Index(open_database(url), Stopping(encoder)) as anew, pytest.raises(KeyboardInterrupt):
        anew.add(reembed=True)
    assert len(index.search("dog", 9)) == 4, "the old vectors still answer"
    with Index(open_database(url), OtherModel(encoder)) as anew:
        report = anew.add(reembed=True)
    assert (report.unchanged, report.embedded) == (2, 2)


def test_removed_folders_are_no_longer_found(index: Index, make_photo: Any, photos: Path) -> None:
    make_photo("a/1.jpg", 1)
    make_photo("ab/2.jpg", 2)
    index.add([photos / "a", photos / "ab"])
    assert index.remove([photos / "a"]) == 1
    assert indexed(index) == {str(photos / "ab" / "2.jpg")}
    assert list(index.folders()) == [str(photos / "ab")]


def test_names_of_any_bytes(index: Index, make_photo: Any, photos: Path) -> None:
    source = make_photo("plain.jpg", 1)
    odd = os.fsdecode(os.fsencode(photos) + b"/\xff\xfe odd.jpg")
    shutil.copy(source, odd)
    for name in ("-rf.jpg", "new\nline.jpg", "日本語 写真.jpg", "quote'\".jpg", "%_.jpg"):
        shutil.copy(source, photos / name)
    report = index.add([photos])
    assert report.indexed == 7
    assert report.failures == []
    hits = index.search("dog", 10)
    names = {
        os.fsdecode(bytes.fromhex(str(hit.metadata["path_bytes"]))) for hit in hits if "path_bytes" in hit.metadata
    }
    assert names == {odd}
    assert {hit.path for hit in hits} >= {str(photos / "日本語 写真.jpg"), str(photos / "new\nline.jpg")}


def test_links_and_pipes_do_not_trap(index: Index, make_photo: Any, photos: Path) -> None:
    make_photo("a/1.jpg", 1)
    (photos / "a" / "up").symlink_to(photos)
    (photos / "dangling.jpg").symlink_to(photos / "nothing.jpg")
    os.mkfifo(photos / "pipe.jpg")
    report = index.add([photos])
    assert report.embedded == 1
    assert [Path(failure.path).name for failure in report.failures] == ["dangling.jpg"]


def test_an_index_is_not_made_by_looking(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(StoreError, match="no index"):
        Index.open(f"sqlite:{tmp_path / 'none.db'}", encoder)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("this is not a database, but long enough to look like one" * 20)
    with pytest.raises(StoreError):
        Index.open(f"sqlite:{tmp_path / 'text.db'}", encoder, create=True)


def test_damage_is_found(url: str, index: Index, make_photo: Any, photos: Path) -> None:
    for number in range(3):
        make_photo(f"{number}.jpg", number)
    index.add([photos])
    connection = index.database.connection  # type: ignore[attr-defined]
    connection.execute("UPDATE vectors_1 SET vector = zeroblob(768) WHERE row = 1")
    connection.execute("UPDATE codes_1 SET code = zeroblob(96) WHERE row = 2")
    connection.execute("DELETE FROM vectors_1 WHERE row = 3")
    assert len(index.verify()) >= 1
    connection.execute("DELETE FROM rows_1 WHERE row = 3")
    connection.execute("DELETE FROM codes_1 WHERE row = 3")
    assert sorted(problem.split(": ")[1] for problem in index.verify()) == [
        "its code is damaged",
        "its vector is damaged",
    ]
