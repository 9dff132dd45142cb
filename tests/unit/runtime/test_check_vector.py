"""A stored vector is compared when a tower is first opened: a machine that computes another is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import babelclip
from babelclip.bundled import bundled_folder
from babelclip.errors import FolderError, RuntimeUnavailable
from babelclip.runtime import check_vector, onnx_runtime
from babelclip.runtime.check_vector import CHECK_VECTORS, compare_check_vector


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled model, with a check file of its own."""
    for file in bundled_folder().iterdir():
        if file.name == CHECK_VECTORS:
            shutil.copy(file, tmp_path / file.name)
        else:
            (tmp_path / file.name).symlink_to(file)
    return tmp_path


def test_the_bundled_model_carries_a_vector_of_each_graph(folder: Path) -> None:
    vectors = json.loads((folder / CHECK_VECTORS).read_text())
    graphs = json.loads((folder / "onnx.json").read_text())["graphs"]
    assert set(vectors) == {facts["sha256"] for facts in graphs.values()}


def test_another_vector_is_refused_when_the_tower_is_first_used(folder: Path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    with babelclip.load(folder, runtime="onnx", threads=1) as encoder:
        encoder.encode_text("a dog")
        encoder.encode_image(image)
    file = folder / CHECK_VECTORS
    vectors = json.loads(file.read_text())
    saturated = {graph: [max(-0.02, min(0.02, number)) for number in vector] for graph, vector in vectors.items()}
    file.write_text(json.dumps(saturated))
    with babelclip.load(folder, runtime="onnx", threads=1) as encoder:
        for embed in (lambda: encoder.encode_text("a dog"), lambda: encoder.encode_image(image)):
            with pytest.raises(babelclip.BabelclipError, match="this machine computes another vector"):
                embed()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_computes_the_stored_vectors_too(folder: Path, dtype: str) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    with babelclip.load(folder, runtime="torch", dtype=dtype) as encoder:
        encoder.encode_text("a dog")
        encoder.encode_image(image)
    file = folder / CHECK_VECTORS
    vectors = json.loads(file.read_text())
    file.write_text(json.dumps({graph: vector[::-1] for graph, vector in vectors.items()}))
    with babelclip.load(folder, runtime="torch", dtype=dtype) as encoder:
        for embed in (lambda: encoder.encode_text("a dog"), lambda: encoder.encode_image(image)):
            for _ in range(2):  # and is asked again the next time
                with pytest.raises(
                    babelclip.BabelclipError, match=f"another vector with the .* in torch .cpu, {dtype}"
                ):
                    embed()


def test_what_was_the_same_is_not_computed_again(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... until a file, the stored vector, the runtime or the processor is another."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BABELCLIP_CACHE", str(cache))
    compared: list[str] = []
    monkeypatch.setattr(onnx_runtime, "compare_check_vector", lambda what, found, expected: compared.append(what))

    def comparisons() -> int:
        compared.clear()
        with babelclip.load(folder, runtime="onnx", threads=1) as encoder:
            encoder.encode_text("a dog")
        return len(compared)

    assert [comparisons(), comparisons()] == [1, 0]
    file = folder / CHECK_VECTORS
    vectors = json.loads(file.read_text())
    file.write_text(json.dumps({graph: [-number for number in vector] for graph, vector in vectors.items()}))
    assert [comparisons(), comparisons()] == [1, 0]
    monkeypatch.setattr(check_vector, "_processor", lambda: "another")
    assert [comparisons(), comparisons()] == [1, 0]
    monkeypatch.setattr(onnx_runtime.onnxruntime, "__version__", "0")
    assert [comparisons(), comparisons()] == [1, 0]
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content)
    assert [comparisons(), comparisons()] == [1, 0]
    monkeypatch.setattr(check_vector, "_processor", lambda: None)  # a system that does not tell
    assert [comparisons(), comparisons()] == [1, 1]


def test_a_cache_that_cannot_be_written_to_costs_a_comparison_alone(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path_factory.mktemp("cache") / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("BABELCLIP_CACHE", str(blocked))
    with babelclip.load(folder, runtime="onnx", threads=1) as encoder:
        assert encoder.encode_text("a dog").shape == (encoder.dim,)


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "b"}', '{"a": [[1], 2]}'])
def test_a_broken_file_is_named(folder: Path, content: str) -> None:
    from babelclip.runtime.check_vector import read_check_vectors

    (folder / CHECK_VECTORS).write_text(content)
    with pytest.raises(FolderError, match=CHECK_VECTORS):
        read_check_vectors(folder)


@pytest.mark.parametrize(
    "found", [np.zeros(4), np.full(4, np.nan), np.ones(3), -np.ones(4), np.array([1.0, 1, 1, 0.9])]
)
def test_what_is_not_the_same_direction_is_refused(found: np.ndarray) -> None:
    with pytest.raises(RuntimeUnavailable, match="expected a cosine"):
        compare_check_vector("text.onnx", found.astype(np.float32), np.ones(4, np.float32))
