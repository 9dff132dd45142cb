"""What counts as the same model: everything that can change a vector, and nothing else.

Preprocessing, the tokenizer and each file of a published layout are changed on disk, each so that the model still opens
and gives other vectors. Whatever was made with the model must refuse to go on with the changed one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import babelclip
from babelclip.checkpoint.folder import read_folder
from babelclip.encoder import Encoder
from babelclip.errors import FolderError, ModelDiffers
from babelclip.evaluate.encode import EncodeOnce
from babelclip.evaluate.run import run_suite
from babelclip.evaluate.suites import Suite
from babelclip.evaluate.task import Score, TaskFacts
from babelclip.runtime.exported import Export, Stale, find_export, towers_of
from babelclip.score_calibration import CALIBRATION, Chance, ScoreCalibration, write_calibration
from babelclip.score_normalization import ScoreNormalization
from babelclip.search.index import Index

GOLDENS = Path(__file__).parents[1] / "fixtures" / "goldens"
TEXT = "A cat sleeps on the warm windowsill"


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def swap_pieces(tokenizer: dict[str, Any]) -> None:
    """The ids of two pieces that the text has."""
    vocabulary = tokenizer["model"]["vocab"]
    pieces = [piece for piece, _ in vocabulary]
    first, second = (pieces.index(piece) for piece in ("▁", "s"))
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]


TASK = {"instructions": {"query": "query: "}, "default_task": "query"}
CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "texts": ("preprocessing.json", lambda content: content["text"].update(TASK)),
    "pixels": ("preprocessing.json", lambda content: content["image"].update(std=[0.1, 0.1, 0.1])),
    "tokenizer": ("tokenizer.json", swap_pieces),
    "configuration": ("config.json", lambda content: content["text"].update(norm_eps=0.5)),
}


@pytest.fixture
def model(exported_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model of both towers, with its graphs and a calibration."""
    path = Path(shutil.copytree(exported_folder("small_int8"), tmp_path / "model"))
    rows = np.random.default_rng(0).standard_normal((200, 48)).astype(np.float32)
    cohort = ScoreNormalization.of(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    chance = Chance(standard_score=1.0, cosine=1.0, mean=0.0, deviation=0.0, bias=0.0)
    cohorts = {"image": cohort, "text": cohort}
    write_calibration(path, ScoreCalibration(read_folder(path).fingerprint(), 200, 200, cohorts, {48: chance}))
    return path


@pytest.fixture(params=CHANGES)
def changed(model: Path, request: pytest.FixtureRequest) -> Path:
    """The same model with one file changed. Its graphs and its calibration are those of before."""
    path = Path(shutil.copytree(model, model.with_name("changed")))
    name, change = CHANGES[request.param]
    edit(path / name, change)
    return path


def as_it_is(changed: Path) -> Encoder:
    """The changed model, without what would refuse to open."""
    (changed / CALIBRATION).unlink(missing_ok=True)
    return babelclip.load(changed, runtime="torch")


def test_the_graphs_are_refused(model: Path, changed: Path) -> None:
    for tower in towers_of(read_folder(model)):
        assert isinstance(find_export(read_folder(model), tower), Export)
        found = find_export(read_folder(changed), tower)
        assert isinstance(found, Stale)
        assert "was made from another model" in found.reason


def test_the_calibration_is_refused(model: Path, changed: Path) -> None:
    assert babelclip.load(model).calibration is not None
    with pytest.raises(FolderError, match=r"reading\.json was fitted for another model"):
        babelclip.load(changed, runtime="torch")


def test_an_index_is_refused(model: Path, changed: Path, tmp_path: Path) -> None:
    url, folder = f"sqlite:///{tmp_path / 'index.db'}", tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT, encoding="utf-8")
    with Index.open(url, babelclip.load(model), create=True) as index:
        index.add([folder])
        index.check_model()
    with pytest.raises(ModelDiffers, match="fingerprint"):
        Index.open(url, as_it_is(changed))


class Task:
    """A task that counts how often it runs; the first time it is stopped after it."""

    facts = TaskFacts("task", "names", (), (), {})
    runs = 0

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        self.runs += 1
        return []


class Stop(Task):
    facts = TaskFacts("stop", "names", (), (), {})

    def run(self, encode: EncodeOnce, seed: int) -> list[Score]:
        raise KeyboardInterrupt


def test_results_of_a_run_that_was_stopped_are_not_continued(model: Path, changed: Path, tmp_path: Path) -> None:
    task, out = Task(), tmp_path / "result.json"
    suite = Suite("suite", (task, Stop()), ())

    def run(encoder: Encoder) -> int:
        with pytest.raises(KeyboardInterrupt):
            run_suite(suite, encoder, encoder.facts(), out=out)
        return task.runs

    first = babelclip.load(model, runtime="torch")
    assert (run(first), run(first), run(as_it_is(changed))) == (1, 1, 2)


def test_the_vectors_are_others(model: Path, changed: Path, golden_images: list[Path]) -> None:
    """Else nothing above would prove anything."""
    before, after = babelclip.load(model, runtime="torch"), as_it_is(changed)
    texts_differ = not np.allclose(before.encode_text(TEXT), after.encode_text(TEXT), atol=1e-3)
    images_differ = not np.allclose(
        before.encode_image(golden_images[:1]), after.encode_image(golden_images[:1]), atol=1e-3
    )
    assert texts_differ or images_differ
    assert before.facts()["fingerprint"] != after.facts()["fingerprint"]


def test_what_changes_no_vector_does_not_count(model: Path) -> None:
    before = read_folder(model).fingerprint()
    (model / "README.md").write_text("another card", encoding="utf-8")
    (model / CALIBRATION).unlink()
    (model / "image.onnx").unlink()
    elsewhere = model.rename(model.with_name("elsewhere"))
    assert read_folder(elsewhere).fingerprint() == before


PREPROCESSOR = {
    "size": 56,
    "resize_mode": "squash",
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "fill_color": 0,
}
PUBLISHED: dict[str, Callable[[dict[str, Any]], object]] = {
    "config.json": lambda content: content["text_config"].update(default_instruction_task="retrieval.query"),
    "tokenizer.json": swap_pieces,
    "tokenizer_config.json": lambda content: content.update(model_max_length=77),
    "preprocessor_config.json": lambda content: content.update(PREPROCESSOR),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_file_of_a_published_layout_counts(name: str, tmp_path: Path) -> None:
    """Also one that is not there at first: what it says is taken from the published defaults then."""
    path = Path(shutil.copytree(GOLDENS / "v2_a", tmp_path / "model"))
    before = read_folder(path).fingerprint()
    if not (path / name).exists():
        (path / name).write_text("{}", encoding="utf-8")
    edit(path / name, PUBLISHED[name])
    assert read_folder(path).fingerprint() != before


def test_a_text_model_has_no_pixels_to_prepare(tmp_path: Path) -> None:
    path = Path(shutil.copytree(GOLDENS / "v3_small", tmp_path / "model"))
    before = read_folder(path).fingerprint()
    (path / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    assert read_folder(path).fingerprint() == before
