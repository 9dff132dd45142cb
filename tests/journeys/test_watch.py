"""``babelclip index --watch``: a real process beside a real folder, seen from other processes."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.search.index import Index

ROOT = Path(__file__).parents[2]
ALBUM = ROOT / "src" / "babelclip" / "demo" / "photos"
PATIENCE = 60.0
"""Seconds until a change is found: two looks some seconds apart, and a busy machine."""


class Watcher:
    """``babelclip index FOLDER --watch --json``, and what it says."""

    def __init__(self, home: Path) -> None:
        self.home, self.url = home, f"sqlite:{home / 'index.db'}"
        command = [sys.executable, "-m", "babelclip", "index", "Photos", "--watch", "--json", "--index", self.url]
        self.process = subprocess.Popen(
            [*command, "--errors-to", "errors.jsonl"],
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.runs: queue.Queue[dict[str, Any]] = queue.Queue()
        self.said: list[str] = []
        self.readers = [threading.Thread(target=self._read_runs), threading.Thread(target=self._read_words)]
        for reader in self.readers:
            reader.start()

    def _read_runs(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.runs.put(json.loads(line))

    def _read_words(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:  # each is there as soon as it is said
                self.said.append(line)

    def next_run(self) -> dict[str, Any]:
        """What the next run that did anything says of itself, as soon as it is done."""
        return self.runs.get(timeout=PATIENCE)

    def has_said(self, part: str) -> bool:
        return any(part in line for line in self.said)

    def names(self) -> list[str]:
        """Files that another process finds in the index."""
        with Index.open(self.url, None) as index:
            assert index.verify() == []
            store = index.store()
            assert store is not None
            return sorted(str(row.metadata["name"]) for row in store.known())

    def search(self, *query: str) -> list[str]:
        """Paths that ``babelclip search`` finds, best first."""
        command = [sys.executable, "-m", "babelclip", "search", *query, "--json", "--index", self.url]
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return [json.loads(line)["path"] for line in done.stdout.splitlines()]

    def stop(self) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=PATIENCE)
        for reader in self.readers:
            reader.join()
        return code


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "Photos"
    folder.mkdir()
    for name in ("dog", "cat", "beach"):
        shutil.copy(ALBUM / f"{name}.webp", folder)
    return folder


@pytest.fixture
def watcher(photos: Path) -> Iterator[Watcher]:
    watcher = Watcher(photos.parent)
    yield watcher
    if watcher.process.poll() is None:
        watcher.process.kill()
    watcher.process.wait()
    for reader in watcher.readers:
        reader.join()


def until(what: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.2)


def test_changes_are_found_while_it_watches(watcher: Watcher, photos: Path) -> None:
    assert watcher.next_run()["embedded"] == 3
    assert watcher.names() == ["beach.webp", "cat.webp", "dog.webp"]

    shutil.copy(ALBUM / "zebras.webp", photos)
    assert watcher.next_run()["embedded"] == 1
    assert watcher.search("zebras", "-k", "1") == [str(photos / "zebras.webp")]

    shutil.copy(ALBUM / "lighthouse.webp", photos / "cat.webp")  # an edit: the same name, another picture
    assert watcher.next_run()["embedded"] == 1
    assert watcher.search("a lighthouse", "-k", "1") == [str(photos / "cat.webp")]

    (photos / "2024").mkdir()
    (photos / "dog.webp").rename(photos / "2024" / "moved.webp")
    run = watcher.next_run()
    assert (run["embedded"], run["known_by_content"], run["removed"]) == (0, 1, 1)
    assert watcher.search("a dog", "-k", "1") == [str(photos / "2024" / "moved.webp")]

    (photos / "beach.webp").unlink()
    assert watcher.next_run()["removed"] == 1
    assert watcher.names() == ["cat.webp", "moved.webp", "zebras.webp"]

    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    assert watcher.next_run()["failed"] == 1
    until(lambda: (photos.parent / "errors.jsonl").read_text().count("broken.jpg") == 1)
    shutil.copy(ALBUM / "beach.webp", photos)
    assert watcher.next_run()["embedded"] == 1
    assert watcher.names() == ["beach.webp", "cat.webp", "moved.webp", "zebras.webp"]
    assert sum("broken.jpg" in line for line in watcher.said) == 1, "a failure is told once"

    assert watcher.stop() == 130
    assert watcher.runs.empty(), "what has not changed is not told"
    assert watcher.said[-1] == "babelclip: stopped\n"
    assert watcher.names() == ["beach.webp", "cat.webp", "moved.webp", "zebras.webp"]


def test_a_folder_that_goes_keeps_its_photos_and_comes_back(watcher: Watcher, photos: Path) -> None:
    assert watcher.next_run()["embedded"] == 3
    photos.rename(photos.with_name("elsewhere"))
    until(lambda: watcher.has_said("is not there"))
    assert len(watcher.names()) == 3
    shutil.copy(ALBUM / "zebras.webp", photos.with_name("elsewhere"))
    photos.with_name("elsewhere").rename(photos)
    assert watcher.next_run()["embedded"] == 1
    assert watcher.has_said("is back")
    assert len(watcher.names()) == 4
    assert watcher.stop() == 130


def test_other_processes_may_add_and_forget_folders(watcher: Watcher, photos: Path) -> None:
    assert watcher.next_run()["embedded"] == 3
    more = photos.with_name("More")
    more.mkdir()
    shutil.copy(ALBUM / "zebras.webp", more)
    environment = {**os.environ, "BABELCLIP_INDEX": watcher.url}
    for verb, folder in (("index", more), ("forget", photos)):
        command = [sys.executable, "-m", "babelclip", verb, str(folder)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=PATIENCE)
    assert watcher.names() == ["zebras.webp"]
    shutil.copy(ALBUM / "lighthouse.webp", photos)
    shutil.copy(ALBUM / "lighthouse.webp", more)
    assert watcher.next_run()["embedded"] == 1
    assert watcher.names() == ["lighthouse.webp", "zebras.webp"], "what is forgotten is not watched any longer"
    command = [sys.executable, "-m", "babelclip", "forget", "--yes"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=PATIENCE)
    assert watcher.process.wait(timeout=PATIENCE) == 1
    until(lambda: watcher.has_said("was taken away"))


def test_ends_where_another_process_embeds_all_with_another_model(
    watcher: Watcher, photos: Path, exported_folder: Callable[[str], Path]
) -> None:
    assert watcher.next_run()["embedded"] == 3
    command = [sys.executable, "-m", "babelclip", "index", "--reembed", "--model", str(exported_folder("small_int8"))]
    environment = {**os.environ, "BABELCLIP_INDEX": watcher.url}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=PATIENCE)
    shutil.copy(ALBUM / "zebras.webp", photos)
    assert watcher.process.wait(timeout=PATIENCE) == 1
    until(lambda: watcher.has_said("babelclip index --reembed"))
    assert watcher.names() == ["beach.webp", "cat.webp", "dog.webp"]


def test_stopped_while_it_indexes_nothing_is_half_written(watcher: Watcher, photos: Path) -> None:
    assert watcher.next_run()["embedded"] == 3
    for number in range(40):
        for photo in ALBUM.glob("*.webp"):
            content = photo.read_bytes() + bytes([number])  # another file, the same picture
            (photos / f"{number}-{photo.name}").write_bytes(content)
    until(lambda: len(watcher.names()) > 3)
    assert watcher.stop() == 130
    assert watcher.runs.empty(), "it was in the middle of a run"
    assert 3 < len(watcher.names()) < 40 * len(list(ALBUM.glob("*.webp"))), "what was written stays"
