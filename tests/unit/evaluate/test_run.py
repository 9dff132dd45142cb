"""Runs, result files, bars: what is written, what is taken up again, what counts as met."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from babelclip.errors import ConfigError, DatasetError
from babelclip.evaluate.encode import EncodeOnce, VectorForm
from babelclip.evaluate.results import read_result, write_result
from babelclip.evaluate.run import run_suite
from babelclip.evaluate.suites import SUITES, Suite, open_suite
from babelclip.evaluate.targets import Target, judge
from babelclip.evaluate.task import DataFile, Score, TaskFacts

FACTS = {"model": "tiny", "fingerprint": "abc", "dtype": "int8", "threads": 2}


class CountingTask:
    """A task that knows how often it ran."""

    def __init__(self, name: str, value: float, sha256: str = "0") -> None:
        self.facts = TaskFacts(name, "names", (DataFile("d", sha256),), ("CC0",), {"cutoffs": [1, 5], "labels": "c:"})
        self.value = value
        self.runs = 0

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        self.runs += 1
        encode.width = 4
        return [Score(language, "top1", self.value, 10, 0.0, 100.0) for language in ("en", "de")]


class FailingTask(CountingTask):
    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        raise KeyboardInterrupt


def suite(*tasks: CountingTask) -> Suite:
    return Suite("test", tasks, (Target("first at 50", "first", ("top1",), 50.0, ("en",)),))


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "r.json"
    result = run_suite(suite(CountingTask("first", 61.5)), object(), FACTS, out=out, dim=4, seed=7)
    assert read_result(out) == result
    assert (result.finished, result.width, result.origin.dim, result.origin.seed) == (True, 4, 4, 7)
    assert result.origin.model == FACTS
    assert result.targets[0].met
    assert list(out.parent.iterdir()) == [out]  # no half-written file is left


def test_every_form_is_measured_and_bars_ask_for_whole_vectors(tmp_path: Path) -> None:
    class Falling(CountingTask):
        def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
            scores = super().run(encode, seed)
            self.value -= 20
            return scores

    forms = [VectorForm(), VectorForm(2), VectorForm(2, "binary")]
    result = run_suite(suite(Falling("first", 61.5)), object(), FACTS, forms=forms, out=tmp_path / "r.json")
    found = [
        (score.dim, score.precision, score.value) for score in result.task("first").scores if score.language == "en"
    ]
    assert found == [(None, "float32", 61.5), (2, "float32", 41.5), (2, "binary", 21.5)]
    assert (result.targets[0].value, result.targets[0].met) == (61.5, True)
    assert read_result(tmp_path / "r.json") == result


def test_provenance_is_in_the_file(tmp_path: Path) -> None:
    run_suite(suite(CountingTask("first", 1.0, sha256="deadbeef")), object(), FACTS, out=tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["date"].endswith("+00:00")
    assert {"commit", "code", "version", "seed", "machine", "model", "suite", "dim", "forms"} == content[
        "origin"
    ].keys()
    assert content["origin"]["machine"]["cores"] >= 1
    assert len(content["origin"]["code"]) == 64
    assert content["tasks"][0]["facts"]["data"] == [{"path": "d", "sha256": "deadbeef"}]
    assert content["tasks"][0]["facts"]["licenses"] == ["CC0"]
    assert not content["targets"][0]["met"]


def cut_off(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite(CountingTask("first", 60.0), FailingTask("second", 0.0)), object(), FACTS, out=out)


def test_a_cut_off_run_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    cut_off(out)
    assert not read_result(out).finished
    first, second = CountingTask("first", 99.0), CountingTask("second", 5.0)
    result = run_suite(suite(first, second), object(), FACTS, out=out)
    assert (first.runs, second.runs) == (0, 1)
    assert result.task("first").scores[0].value == 60.0
    assert (result.finished, result.width) == (True, 4)


@pytest.mark.parametrize("change", ["model", "seed", "dim", "data", "finished", "code"])
def test_nothing_is_taken_from_a_run_of_something_else(tmp_path: Path, change: str) -> None:
    out = tmp_path / "r.json"
    cut_off(out)
    kept = read_result(out)
    if change == "finished":
        write_result(replace(kept, finished=True), out)
    if change == "code":
        write_result(replace(kept, origin=replace(kept.origin, code="0" * 64)), out)
    first = CountingTask("first", 99.0, sha256="1" if change == "data" else "0")
    facts = {**FACTS, "fingerprint": "other"} if change == "model" else FACTS
    run_suite(
        suite(first), object(), facts, out=out, seed=3 if change == "seed" else 0, dim=2 if change == "dim" else None
    )
    assert first.runs == 1
    assert read_result(out).task("first").scores[0].value == 99.0


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}', '{"format": 1, "origin": {}}'])
def test_a_file_that_is_no_result_is_neither_read_nor_overwritten(tmp_path: Path, content: str) -> None:
    out = tmp_path / "r.json"
    out.write_text(content)
    with pytest.raises(DatasetError, match=r"r\.json"):
        run_suite(suite(CountingTask("first", 1.0)), object(), FACTS, out=out)
    assert out.read_text() == content


def scores(**values: float) -> list[Score]:
    return [Score(language, "m", value, 1, 0.0, 0.0) for language, value in values.items()]


def test_bars() -> None:
    measured = scores(en=90.0, de=40.0, fr=20.0, cs=30.0)
    assert judge(Target("b", "t", ("m",), 30.0, ("de", "fr")), measured).value == 30.0
    assert judge(Target("b", "t", ("m",), 30.0, ("de", "fr")), measured).met  # exactly at the bar
    worst = judge(Target("b", "t", ("m",), 21.0, ("de", "fr", "cs"), of="worst"), measured)
    assert (worst.value, worst.met, worst.note) == (20.0, False, "fr")
    others = judge(Target("b", "t", ("m",), 31.0, others=3), measured)
    assert (others.value, others.met) == (30.0, False)  # English would have lifted it


def test_bars_over_metrics_counts_shares_and_cut_vectors() -> None:
    def found(language: str, metric: str, value: float, count: int = 10, dim: int | None = None) -> Score:
        return Score(language, metric, value, count, 0.0, 0.0, dim)

    measured = [
        found("en", "m", 80.0),
        found("en", "n", 40.0),
        found("de", "m", 50.0, 3),
        found("en", "m", 60.0, dim=8),
    ]
    assert judge(Target("b", "t", ("m", "n"), 1.0, ("en",)), measured).value == 60.0
    assert judge(Target("b", "t", ("m", "n"), 1.0, ("de",)), measured).note == "not measured in de"  # n is missing
    assert judge(Target("b", "t", ("m",), 1.0), measured).value == 65.0  # English is one of all
    assert judge(Target("b", "t", ("m",), 1.0, min_count=4), measured).value == 80.0
    assert judge(Target("b", "t", ("m",), 1.0, of="share above 50"), measured).value == 50.0
    assert judge(Target("b", "t", ("m",), 1.0, ("en",), dim=8), measured).value == 60.0
    kept = judge(Target("b", "t", ("m",), 75.0, ("en",), dim=8, keeps=True, aim=90.0), measured)
    assert (kept.value, kept.met, kept.aim) == (75.0, True, 90.0)
    assert judge(Target("b", "t", ("m",), 1.0, dim=4, keeps=True), measured).note == "not measured at 4"


def test_a_bar_over_languages_that_were_not_measured_is_not_met() -> None:
    measured = scores(en=90.0, de=90.0)
    missing = judge(Target("b", "t", ("m",), 1.0, ("de", "fr")), measured)
    assert (missing.value, missing.met, missing.note) == (None, False, "not measured in fr")
    fewer = judge(Target("b", "t", ("m",), 1.0, others=40), measured)
    assert (fewer.value, fewer.met, fewer.note) == (None, False, "1 other languages, not 40")


def test_unknown_suite_and_absent_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="small, quick"):
        open_suite("large", tmp_path)
    for name in SUITES:
        with pytest.raises(DatasetError, match="flickr8k"):
            open_suite(name, tmp_path)
