"""``babelclip evaluate``: options in, table on stdout, result file written, clear words when something is absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import babelclip
from babelclip.cli.main import FAILED, USAGE, run
from babelclip.evaluate import suites
from babelclip.evaluate.results import read_result
from babelclip.evaluate.suites import Suite
from babelclip.evaluate.targets import Target
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval


class LengthEncoder:
    """Tells texts and images apart by their length alone."""

    def encode_text(self, texts: list[str], *, dim: int | None = None) -> np.ndarray:
        return np.stack([np.eye(dim or 4, dtype=np.float32)[len(text)] for text in texts])

    def encode_image(self, images: list[bytes], *, dim: int | None = None) -> np.ndarray:
        return np.stack([np.eye(dim or 4, dtype=np.float32)[len(image)] for image in images])

    def facts(self) -> dict[str, str]:
        return {"model": "length", "runtime": "none"}


@pytest.fixture
def data(tmp_path: Path, write_pack, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_pack("p.tar.gz", {"a": (b"1", {"captions": {"en": ["1"]}}), "b": (b"22", {"captions": {"en": ["22", "3"]}})})
    target = Target("the bar", "set", ("text_to_image_recall@1",), 50.0, ("en",))

    def small(folder: Path) -> Suite:
        return Suite("small", (CrossmodalRetrieval.of_pack("set", folder, "p.tar.gz"),), (target,))

    monkeypatch.setitem(suites.SUITES, "small", small)
    monkeypatch.setattr(babelclip, "load", lambda *a, **k: LengthEncoder(), raising=False)
    return tmp_path


def test_a_run_prints_the_bars_and_writes_the_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data / "results.json"
    assert run(["evaluate", "--data", str(data), "--out", str(out), "--dim", "5", "--seed", "3"]) == 0
    shown = capsys.readouterr()
    assert "| the bar" in shown.out
    assert "66.7" in shown.out
    assert "length, 5 dim" in shown.out
    assert str(out) in shown.err
    result = read_result(out)
    assert (result.width, result.origin.seed, result.origin.model["runtime"]) == (5, 3, "none")


def test_quiet_says_nothing_on_stderr(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--data", str(data), "--out", str(data / "r.json"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_the_data_folder_may_come_from_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BABELCLIP_DATASETS", str(data))
    assert run(["evaluate", "--out", str(data / "r.json"), "--quiet"]) == 0


def test_absent_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "r.json")]) == FAILED
    assert "flickr8k_test_multilingual.tar.gz" in capsys.readouterr().err


def test_an_unknown_suite_is_wrong_usage(tmp_path: Path) -> None:
    assert run(["evaluate", "--data", str(tmp_path), "--out", "r.json", "--suite", "huge"]) == USAGE
