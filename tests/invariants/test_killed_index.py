"""kill -9 while indexing, again and again, with readers attached: nothing told is lost, no file is ever half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import babelclip
from babelclip.errors import StoreError
from babelclip.search import read_file
from babelclip.search.index import Index
from babelclip.search.walk import Wanted

SCRIPT = Path(__file__).with_name("index_until_killed.py")
ROUNDS, FILES, PIECES = 20, 600, 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts of three pieces each: a file that is half written would show."""
    monkeypatch.setattr(read_file, "PIECE", 20)
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(FILES):
        paragraphs = [f"{part} of {number}" for part in ("some river", "early dawn", "all spring")]
        (folder / f"{number:04}.txt").write_text("\n\n".join(paragraphs))
    return folder


class Reader(threading.Thread):
    """Looks at the index all the time, over a connection of its own, as another process would."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.looks = 0
        self.halves: list[str] = []
        self.problems: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        query = np.ones(384, np.float32)
        while not self.stop.is_set():
            try:
                with Index.open(self.url, None) as index:
                    self.look(index, query)
            except StoreError as error:
                if "no index" not in str(error):
                    self.problems.append(str(error))
                time.sleep(0.02)

    def look(self, index: Index, query: np.ndarray) -> None:
        store = index.store()
        if store is not None:
            time.sleep(0.01)  # what is tested needs the processor too
            parts = Counter(str(row.metadata["path"]) for row in store.known())
            self.halves += [path for path, count in parts.items() if count != PIECES]
            index.search(query, 5)
            self.looks += 1


@pytest.mark.stress
def test_nothing_that_was_told_is_lost(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'index.db'}"
    dice = random.Random(0)
    reader = Reader(url)
    reader.start()
    kept = killed = 0
    for _ in range(ROUNDS):
        command = [sys.executable, str(SCRIPT), url, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(dice.randint(1, 5))]
            time.sleep(dice.uniform(0, 0.02))  # in the middle of a batch, as likely as not
            process.send_signal(signal.SIGKILL)
            lines += process.stdout
            told = [int(line.split()[1]) for line in lines if line.startswith("kept") and line.endswith("\n")]
        killed += process.returncode == -signal.SIGKILL
        with Index.open(url, None) as index:
            assert index.verify() == []
            assert index.count() >= max(told, default=kept)
            assert index.count() % PIECES == 0
            kept = index.count()
    reader.stop.set()
    reader.join()
    assert killed >= ROUNDS - 4, "nearly every round must end by the kill, else it shows nothing"
    assert reader.looks > ROUNDS
    assert reader.problems == []
    assert reader.halves == []

    encoder = babelclip.load(threads=1)
    with (
        Index.open(url, encoder) as index,
        Index.open(f"sqlite:{tmp_path / 'whole.db'}", encoder, create=True) as whole,
    ):
        report = index.add([folder], Wanted(text=True))
        assert report.unchanged == kept // PIECES, "what was kept is not embedded again"
        whole.add([folder], Wanted(text=True))
        stores = index.store(), whole.store()
        assert stores[0] is not None
        assert stores[1] is not None
        rows = [{row.id: row for row in store.rows()} for store in stores if store is not None]
        assert rows[0].keys() == rows[1].keys()
        assert len(rows[0]) == FILES * PIECES
        assert min(float(rows[0][id].vector @ rows[1][id].vector) for id in rows[0]) > 0.999
