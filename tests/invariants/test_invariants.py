"""What must hold for every model and runtime. Each check is shown to bite too: one planted fault makes it fail.

The limit of 1e-5 is the one that the project promises for the company that a row keeps, in int8 too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import babelclip
from babelclip.arrays import ImageBatch, TextBatch, Vectors
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.folder import read_folder, write_folder
from babelclip.checkpoint.weights import StoredTensor, read_stored
from babelclip.encoder import Encoder
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.runtime.choose import open_runtime
from babelclip.runtime.runtime import Runtime

COMPANY = 1e-5
MODELS = [
    ("v2_a", "torch"),
    ("v2_a", "onnx"),
    ("v2_b", "onnx"),
    ("v3_small", "onnx"),
    ("small_int8", "onnx"),
    ("small_int4", "onnx"),
    ("small_clip", "onnx"),
    ("small_clip", "torch"),
]
TEXTS = [
    "",
    "a",
    "the house on the hill",
    "не на и в по",
    "我们 在 的",
    "in the end of the day " * 12,
    "<pad>",
    "a <pad> b",
]

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
        return self._spoil(self._runtime.run_text(batch))

    def run_images(self, batch: ImageBatch) -> Vectors:
        return self._spoil(self._runtime.run_images(batch))

    def facts(self) -> dict[str, str | int]:
        return self._runtime.facts()

    def _spoil(self, vectors: Vectors) -> Vectors:
        if self._fault == "scale of the batch":  # as activations quantized with one scale for all rows
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


@pytest.mark.parametrize(("name", "runtime"), [model for model in MODELS if model[0] != "v3_small"])
def test_images_alone_equal_images_in_company(
    name: str, runtime: str, exported_folder: Callable[[str], Path], golden_images: list[Path]
) -> None:
    check_images_alone(make_encoder(exported_folder(name), runtime), golden_images[:9])


def test_order_is_kept(encoder: Encoder) -> None:
    check_order(encoder)


def test_truncation_is_the_prefix_renormalized(encoder: Encoder) -> None:
    whole = encoder.encode_text(TEXTS)
    for dim in (1, 7, encoder.dim):
        check_prefix(whole, encoder.encode_text(TEXTS, dim=dim))


def test_empty_text_has_a_vector(encoder: Encoder) -> None:
    assert encoder.tokenize([""]) == [[0, 2]]
    vector = encoder.encode_text("")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_literal_pad_is_the_pad_id(encoder: Encoder) -> None:
    (ids,) = encoder.tokenize(["a <pad> b"])
    assert 1 in ids[1:-1]
    assert np.linalg.norm(encoder.encode_text("<pad>")) == pytest.approx(1, abs=1e-6)


def test_pad_inside_a_text_is_masked_like_padding(folder: Path) -> None:
    check_pad_inside(open_runtime(read_folder(folder), "onnx"))


def check_pad_inside(runtime: Runtime) -> None:
    masked = TextBatch(np.array([[0, 7, 1, 9, 2]]), np.zeros(1, np.int64))
    seen = replace(masked, token_ids=np.array([[0, 7, 8, 9, 2]]))
    padded = replace(masked, token_ids=np.array([[0, 7, 1, 9, 2, 1, 1]]))
    np.testing.assert_allclose(runtime.run_text(masked), runtime.run_text(padded), rtol=0, atol=COMPANY)
    assert np.abs(runtime.run_text(masked) - runtime.run_text(seen)).max() > 1e-3


def test_saved_and_loaded_gives_the_same(exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    check_saved(exported_folder("small_int8"), tmp_path / "copy", lambda name, array: array)


def check_saved(source: Path, target: Path, change: Callable[[str, NDArray[Any]], NDArray[Any]]) -> None:
    """Tensors of a folder, written again as they were stored, give the same vectors."""
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


def test_check_of_pads_bites(folder: Path) -> None:
    with pytest.raises(AssertionError):
        check_pad_inside(Faulty(open_runtime(read_folder(folder), "onnx"), "padding counts"))


def test_check_of_prefix_bites(folder: Path) -> None:
    encoder = make_encoder(folder, "onnx")
    whole = encoder.encode_text(TEXTS)
    with pytest.raises(AssertionError):
        check_prefix(whole, whole[:, :16])  # cut after normalizing


def test_check_of_saving_bites(exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    def nudge(name: str, array: NDArray[Any]) -> NDArray[Any]:
        return array + np.float32(1e-3) if name == "text.blocks.0.norm1.bias" else array

    with pytest.raises(AssertionError):
        check_saved(exported_folder("small_int8"), tmp_path / "copy", nudge)
