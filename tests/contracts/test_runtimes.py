"""One suite for every runtime: what the encoder relies on, whatever runs the model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from babelclip.arrays import NO_ADAPTER, ImageBatch, TextBatch
from babelclip.checkpoint.folder import ModelFolder, read_folder
from babelclip.errors import ConfigError
from babelclip.runtime.choose import open_runtime
from babelclip.runtime.runtime import Runtime

RUNTIMES = ("torch", "onnx")
AGREE = 1e-4
"""Between runtimes, of raw vectors; the project's promise for exported graphs."""


def texts(folder: ModelFolder, rows: int, length: int, adapter: int | None = None) -> TextBatch:
    """Random ids; where no adapter is named, the one that the model always uses."""
    random = np.random.default_rng(rows * 1000 + length)
    ids = random.integers(3, folder.config.text.vocab_size, (rows, length))
    always = folder.text_prepare.always_adapter
    if adapter is None:
        adapter = NO_ADAPTER if always is None else folder.text_prepare.adapters.index(always)
    return TextBatch(ids, np.full(rows, adapter))


def images(folder: ModelFolder, rows: int) -> ImageBatch:
    assert folder.config.vision is not None
    size = folder.config.vision.image_size
    return ImageBatch(np.random.default_rng(rows).standard_normal((rows, 3, size, size)).astype(np.float32))


@pytest.fixture(scope="module", params=["v2_a", "v2_b", "v3_small", "small_int8", "small_int4", "small_clip"])
def folder(request: pytest.FixtureRequest, exported_folder: Callable[[str], Path]) -> ModelFolder:
    return read_folder(exported_folder(request.param))


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, folder: ModelFolder) -> Runtime:
    return open_runtime(folder, request.param)


def test_vectors_are_raw_float32_of_full_width(runtime: Runtime, folder: ModelFolder) -> None:
    vectors = runtime.run_text(texts(folder, 3, 9))
    assert isinstance(vectors, np.ndarray)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, folder.config.embed_dim)
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_images_are_raw_float32_of_full_width(runtime: Runtime, folder: ModelFolder) -> None:
    if folder.config.vision is None:
        return
    vectors = runtime.run_images(images(folder, 2))
    assert (vectors.dtype, vectors.shape) == (np.float32, (2, folder.config.embed_dim))


def test_facts_name_everything(runtime: Runtime) -> None:
    facts = runtime.facts()
    assert facts["runtime"] in RUNTIMES
    assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    assert isinstance(facts["threads"], int)
    assert facts["threads"] >= 1


def test_adapter_that_is_not_there_is_refused(runtime: Runtime, folder: ModelFolder) -> None:
    with pytest.raises(Exception, match=r"(?i)adapter|out of|bounds|index"):
        runtime.run_text(texts(folder, 2, 5, adapter=99))


def test_threads_share_a_runtime(runtime: Runtime, folder: ModelFolder) -> None:
    batches = [texts(folder, rows, length) for rows, length in ((1, 2), (4, 31), (2, 64), (7, 12))] * 4
    expected = [runtime.run_text(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(runtime.run_text, batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 2), (1, 3), (2, 65), (33, 5), (1, 120)])
def test_runtimes_agree_on_texts(folder: ModelFolder, rows: int, length: int) -> None:
    batch = texts(folder, rows, length)
    one, other = (open_runtime(folder, name).run_text(batch) for name in RUNTIMES)
    np.testing.assert_allclose(one, other, rtol=0, atol=AGREE)


def test_runtimes_agree_on_pads_anywhere(folder: ModelFolder) -> None:
    batch = texts(folder, 4, 12)
    batch.token_ids[0, 5:] = batch.token_ids[1, :4] = batch.token_ids[2, 3:7] = batch.token_ids[3, 1:] = 1
    one, other = (open_runtime(folder, name).run_text(batch) for name in RUNTIMES)
    np.testing.assert_allclose(one, other, rtol=0, atol=AGREE)


def test_mixed_adapters_in_one_batch(exported_folder: Callable[[str], Path]) -> None:
    folder = read_folder(exported_folder("v3_small"))
    batch = texts(folder, 6, 10)
    mixed = TextBatch(batch.token_ids, np.arange(6) - 1)
    for name in RUNTIMES:
        runtime = open_runtime(folder, name)
        together = runtime.run_text(mixed)
        for row in range(6):
            alone = runtime.run_text(TextBatch(mixed.token_ids[row : row + 1], mixed.adapters[row : row + 1]))
            np.testing.assert_allclose(together[row], alone[0], rtol=0, atol=1e-5)
        base = runtime.run_text(batch)
        assert np.abs(base[1:] - together[1:]).max(axis=1).min() > 1e-3  # each adapter does something
        np.testing.assert_allclose(base[0], together[0], rtol=0, atol=1e-5)


def test_merged_adapter_refuses_another(exported_folder: Callable[[str], Path]) -> None:
    folder = read_folder(exported_folder("v2_b"))
    with pytest.raises(ConfigError, match=r"asks for adapters \[1\]; this text tower runs with 0 alone"):
        open_runtime(folder, "torch").run_text(texts(folder, 1, 4, adapter=1))


def test_bfloat16_stays_close(exported_folder: Callable[[str], Path]) -> None:
    """The reference itself keeps 0.9999 for texts, 0.9994 for images (docs/reference/published-model.md#precision)."""
    folder = read_folder(exported_folder("v2_a"))
    full, half = open_runtime(folder, "torch"), open_runtime(folder, "torch", dtype="bfloat16")
    assert half.facts()["dtype"] == "bfloat16"
    for one, other, least in (
        (full.run_text(texts(folder, 4, 20)), half.run_text(texts(folder, 4, 20)), 0.9995),
        (full.run_images(images(folder, 3)), half.run_images(images(folder, 3)), 0.999),
    ):
        assert other.dtype == np.float32
        cosine = (one * other).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
        assert cosine.min() > least
