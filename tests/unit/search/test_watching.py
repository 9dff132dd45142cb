"""What a watch notices of real folders, and what a run leaves alone."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from babelclip.encoder import Encoder
from babelclip.errors import StoreError
from babelclip.search.index import Index
from babelclip.search.walk import Wanted
from babelclip.search.watching import LONGEST, SHARE, SHORTEST, Changes, Watch, pause_after

SETTLE = 0.3


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    (folder / "b.jpg").write_bytes(b"b")
    return folder


@pytest.fixture
def watch(photos: Path) -> Watch:
    watch = Watch(settle=0.01)
    assert watch.look({photos: Wanted()}).folders == [photos], "the first look tells all"
    return watch


def test_what_comes_goes_and_changes_is_told_once(watch: Watch, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    folders = {photos: Wanted(), other: Wanted()}
    assert watch.look(folders).folders == []
    for change in (
        lambda: (photos / "c.jpg").write_bytes(b"c"),
        lambda: (photos / "c.jpg").write_bytes(b"longer"),
        lambda: (photos / "c.jpg").rename(photos / "d.jpg"),
        lambda: (photos / "d.jpg").unlink(),
    ):
        change()
        changes = watch.look(folders)
        assert (changes.folders, changes.unsettled) == ([photos], frozenset())
        assert watch.look(folders).folders == []


def test_only_what_an_index_holds_counts(watch: Watch, photos: Path) -> None:
    for name in ("notes.txt", ".hidden.jpg", "@eaDir/small.jpg", "node_modules/icon.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"x")
    assert watch.look({photos: Wanted()}).folders == []
    assert watch.look({photos: Wanted(text=True)}).folders == [photos]


@contextmanager
def being_written(path: Path) -> Iterator[None]:
    """A file that grows as long as the block runs."""
    stop = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as file:
            while not stop.wait(0.01):
                file.write(b"part")

    writer = threading.Thread(target=write)
    writer.start()
    while not path.exists() or not path.stat().st_size:
        time.sleep(0.01)
    try:
        yield
    finally:
        stop.set()
        writer.join()


def test_a_file_that_is_being_written_waits_and_holds_up_no_other(photos: Path) -> None:
    watch = Watch(settle=SETTLE)
    watch.look({photos: Wanted()})
    with being_written(photos / "large.jpg"):
        assert watch.look({photos: Wanted()}).folders == []
        (photos / "c.jpg").write_bytes(b"c")
        changes = watch.look({photos: Wanted()})
        assert (changes.folders, changes.unsettled) == ([photos], {photos / "large.jpg"})
    assert watch.look({photos: Wanted()}).folders == [photos]
    assert watch.look({photos: Wanted()}).folders == []


def test_a_folder_that_goes_and_comes_back_has_not_changed(watch: Watch, photos: Path) -> None:
    photos.rename(photos.with_name("away"))
    changes = watch.look({photos: Wanted()})
    assert (changes.folders, changes.away) == ([], {photos})
    photos.with_name("away").rename(photos)
    changes = watch.look({photos: Wanted()})
    assert (changes.folders, changes.away) == ([], frozenset())


def test_what_could_not_be_indexed_is_told_again(watch: Watch, photos: Path) -> None:
    watch.forget([photos])
    assert watch.look({photos: Wanted()}).folders == [photos]


@pytest.mark.parametrize(("seconds", "pause"), [(0.0, SHORTEST), (1.0, SHARE), (1e6, LONGEST)])
def test_looking_takes_a_small_share_of_the_time(seconds: float, pause: float) -> None:
    assert pause_after(Changes([], frozenset(), frozenset(), seconds)) == pause


@pytest.fixture
def index(tmp_path: Path, encoder: Encoder) -> Iterator[Index]:
    with Index.open(f"sqlite:{tmp_path / 'index.db'}", encoder, create=True) as opened:
        yield opened


def test_files_that_are_left_stay_as_they_are_known(index: Index, make_photo: Any) -> None:
    changed, moved, added = make_photo("changed.png", 1), make_photo("moved.png", 2), make_photo("added.png", 3)
    folder = added.parent
    added.rename(folder / "added.tmp")
    index.add([folder])
    (folder / "added.tmp").rename(added)
    changed.write_bytes(b"half")
    moved.unlink()
    report = index.add([folder], leave=[changed, moved, added])
    assert (report.embedded, report.removed, report.failures) == (0, 0, [])
    assert index.count() == 2
    report = index.add([folder])
    assert (report.embedded, report.removed, len(report.failures)) == (1, 1, 1)
    assert index.count() == 1


def test_the_empty_place_of_a_drive_is_not_emptied(index: Index, make_photo: Any) -> None:
    photo = make_photo("a.png", 1)
    place = photo.parent
    kept = photo.rename(place.with_name("a.png"))
    if subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False).returncode:
        pytest.skip("drives can be mounted by root alone")
    try:
        shutil.copy(kept, photo)
        assert index.add([place]).embedded == 1
    finally:
        subprocess.run(["umount", place], check=True)
    for _ in range(2):
        report = index.add()
        assert [failure.reason for failure in report.failures] == ["its drive is not there"]
        assert (report.removed, index.count()) == (0, 1)
    shutil.copy(kept, place / "other.png")
    report = index.add()
    assert (report.known_by_content, report.removed, report.failures) == (1, 1, []), "now it is a folder like others"
    (place / "other.png").unlink()
    assert index.add().removed == 1


def test_a_database_that_was_taken_away_says_so(index: Index, make_photo: Any, tmp_path: Path) -> None:
    folder = make_photo("a.png", 1).parent
    index.add([folder])
    with Index.open(index.database.url, None) as other:
        other.database.erase()
    make_photo("b.png", 2)
    for use in (index.count, index.folders, index.add):
        with pytest.raises(StoreError, match="was taken away"):
            use()
    with Index.open(index.database.url, None, create=True), pytest.raises(StoreError, match="another put in its place"):
        index.count()
