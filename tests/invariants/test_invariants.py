"""What must hold for every model and runtime. Each check is first shown to bite: a runtime with one planted fault fails it.

The limit of 1e-5 is the one that the project promises for the company that a row keeps, in int8 too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import babelclip
from babelclip.arrays import ImageBatch, TextBatch, Vectors
from babelclip.checkpoint.folder import read_folder
from babelclip.encoder import Encoder
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.runtime.choose import open_runtime
from babelclip.runtime.runtime import Runtime

COMPANY = 1e-5
MODELS = [("v2_a", "torch"), ("v2_a", "onnx"), ("v2_b", "onnx"), ("v3_small", "onnx"), ("small_int8", "onnx")]
TEXTS = ["", "a", "the house on the hill", "не на и в по", "我们 在 的", "in the end of the day " * 12, "<pad>", "a <pad> b"]

Wrap = Callable[[Runtime], Runtime]


def make_encoder(folder_path: Path, runtime_name: str, wrap: Wrap = lambda runtime: runtime) -> Encoder:
    """As ``babelclip.load``, with something between encoder and runtime."""
    folder = read_folder(folder_path)
    image = folder.image_prepare
    return Encoder(
        name=folder.name,
        runtime=wrap(open_runtime(folder, "torch" if runtime_name == "torch" else "onnx")),
        text_preparer=TextPreparer(folder.tokenizer_file, folder.text_prepare),
        image_preparer=None if image is None else ImagePreparer(image),
        dims=folder.config.dims,
    )


class Faulty:
    """A runtime with one planted fault."""

    def __init__(self, runtime: Runtime, fault: str) -> None:
        self._runtime, self._fault = runtime, fault

    def run_text(self, batch: TextBatch) -> Vectors:
        if self._fault == "padding counts":
            batch = replace(batch, token_ids=np.where(batch.token_ids == 1, 5, batch.token_ids))
        if self._fault == "forgets special ids":
            batch = replace(batch, token_ids=np.where(batch.token_ids == 0, 5, batch.token_ids))
        return self._spoil(self._runtime.run_text(batch))

    def run_images(self, batch: ImageBatch) -> Vectors:
        return self._spoil(self._runtime.run_images(batch))

    def facts(self) -> dict[str, str | int]:
        return self._runtime.facts()

    def _spoil(self, vectors: Vectors) -> Vectors:
        if self._fault == "scale of the batch":  # as activations quantised with one scale for all rows
            scale = np.abs(vectors).max() / 127
            return (np.rint(vectors / scale) * scale).astype(np.float32)
        if self._fault == "order":
            return vectors[::-1].copy()
        return vectors


# ---------------------------------------------------------------- the checks


def check_texts_alone(encoder: Encoder) -> None:
    together = encoder.encode_text(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.encode_text(text), vector, rtol=0, atol=COMPANY)


def check_images_alone(encoder: Encoder, images: list[Path]) -> None:
    together = encoder.encode_image(images)
    for image, vector in zip(images, together, strict=True):
        np.testing.assert_allclose(encoder.encode_image(image), vector, rtol=0, atol=COMPANY)


def check_order(encoder: Encoder) -> None:
    there, back = encoder.encode_text(TEXTS), encoder.encode_text(TEXTS[::-1])
    np.testing.assert_allclose(there, back[::-1], rtol=0, atol=COMPANY)
    streamed = [item.vector for item in encoder.stream(TEXTS)]
    np.testing.assert_allclose(there, np.array(streamed), rtol=0, atol=COMPANY)


def check_prefix(whole: NDArray[np.float32], cut: NDArray[np.float32]) -> None:
    prefix = whole[:, : cut.shape[1]]
    expected = prefix / np.linalg.norm(prefix, axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, rtol=0, atol=1e-6)


def check_pad_is_nothing(encoder: Encoder, pad_id: int) -> None:
    """A literal <pad> in a text is the pad id, which neither attention nor pooling sees. Positions do shift."""
    (ids,) = encoder.tokenize(["a <pad>"])
    assert pad_id in ids
    with_pad, without = encoder.encode_text(["<pad>", ""])
    (only_pad,) = encoder.tokenize(["<pad>"])
    assert only_pad[0] == 0
    assert only_pad[-1] == 2
    assert np.isfinite(with_pad).all()
    assert not np.allclose(with_pad, without, atol=1e-7) or only_pad == [0, 2]  # </s> stands one place further


# ---------------------------------------------------------------- models that hold


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def encoder(request: pytest.FixtureRequest, exported_folder: Callable[[str], Path]) -> Encoder:
    name, runtime = request.param
    return make_encoder(exported_folder(name), runtime)


@pytest.fixture(scope="module")
def folder(exported_folder: Callable[[str], Path]) -> Path:
    return exported_folder("v2_a")


def test_texts_alone_equal_texts_in_company(encoder: Encoder) -> None:
    check_texts_alone(encoder)


def test_images_alone_equal_images_in_company(encoder: Encoder, golden_images: list[Path]) -> None:
    if encoder.image_size is None:
        pytest.skip("text-only model")
    check_images_alone(encoder, golden_images[:9])


def test_order_is_kept(encoder: Encoder) -> None:
    check_order(encoder)


def test_truncation_is_the_prefix_renormalised(encoder: Encoder) -> None:
    whole = encoder.encode_text(TEXTS)
    for dim in (1, 7, encoder.dim):
        check_prefix(whole, encoder.encode_text(TEXTS, dim=dim))


def test_empty_text_has_a_vector(encoder: Encoder) -> None:
    assert encoder.tokenize([""]) == [[0, 2]]
    vector = encoder.encode_text("")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_literal_pad_is_masked(encoder: Encoder) -> None:
    check_pad_is_nothing(encoder, 1)


def test_literal_pad_equals_its_absence_but_for_positions(folder: Path) -> None:
    """The ids as they stand, and the same with another id in the masked place: no difference at all."""
    runtime = open_runtime(read_folder(folder), "onnx")
    masked = TextBatch(np.array([[0, 7, 1, 9, 2]]), np.zeros(1, np.int64))
    seen = replace(masked, token_ids=np.array([[0, 7, 8, 9, 2]]))
    padded = replace(masked, token_ids=np.array([[0, 7, 1, 9, 2, 1, 1]]))
    np.testing.assert_allclose(runtime.run_text(masked), runtime.run_text(padded), rtol=0, atol=COMPANY)
    assert np.abs(runtime.run_text(masked) - runtime.run_text(seen)).max() > 1e-3


def test_saved_and_loaded_gives_the_same(folder: Path, exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    check_saved(exported_folder("small_int8"), tmp_path / "copy", lambda name, array: array)


def check_saved(source: Path, target: Path, change: Callable[[str, NDArray], NDArray]) -> None:
    """Tensors of a folder, written again as they were stored, give the same vectors."""
    from babelclip.checkpoint.card import CardFacts
    from babelclip.checkpoint.folder import write_folder
    from babelclip.checkpoint.weights import StoredTensor, read_stored

    folder = read_folder(source)
    tensors = {}
    for name, entry in folder.tensor_index().items():
        stored = read_stored(entry)
        tensors[name] = StoredTensor(stored.dtype, change(name, stored.array))
    write_folder(
        target,
        name=folder.name,
        config=folder.config,
        text_prepare=folder.text_prepare,
        image_prepare=folder.image_prepare,
        tensors=tensors,
        tokenizer_file=folder.tokenizer_file,
        card=CardFacts(license="apache-2.0", summary="a copy"),
    )
    before = babelclip.load(source, runtime="torch").encode_text(TEXTS)
    after = babelclip.load(target, runtime="torch").encode_text(TEXTS)
    np.testing.assert_array_equal(before, after)


# ---------------------------------------------------------------- faults that the checks find


@pytest.mark.parametrize("fault", ["padding counts", "scale of the batch"])
def test_check_of_company_bites(folder: Path, fault: str) -> None:
    with pytest.raises(AssertionError):
        check_texts_alone(make_encoder(folder, "onnx", lambda runtime: Faulty(runtime, fault)))


def test_check_of_images_in_company_bites(folder: Path, golden_images: list[Path]) -> None:
    with pytest.raises(AssertionError):
        check_images_alone(
            make_encoder(folder, "onnx", lambda runtime: Faulty(runtime, "scale of the batch")), golden_images[:9]
        )


def test_check_of_order_bites(folder: Path) -> None:
    with pytest.raises(AssertionError):
        check_order(make_encoder(folder, "onnx", lambda runtime: Faulty(runtime, "order")))


def test_check_of_prefix_bites(folder: Path) -> None:
    encoder = make_encoder(folder, "onnx")
    whole = encoder.encode_text(TEXTS)
    with pytest.raises(AssertionError):
        check_prefix(whole, whole[:, :16])  # cut after normalising


def test_check_of_saving_bites(exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    def nudge(name: str, array: NDArray) -> NDArray:
        return array + np.float32(1e-3) if name == "text.blocks.0.norm1.bias" else array

    with pytest.raises(AssertionError):
        check_saved(exported_folder("small_int8"), tmp_path / "copy", nudge)


def test_goldens_are_what_they_were(folder: Path) -> None:
    """The invariants speak of the golden model, not of a copy that some test changed."""
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "jina_clip"
