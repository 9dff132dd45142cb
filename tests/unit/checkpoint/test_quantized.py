"""Weights in fewer bits: how far from the floats, what is exact, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from babelclip.checkpoint.folder import read_folder
from babelclip.checkpoint.quantized import (
    SCALE_SUFFIX,
    dequantize_int4,
    dequantize_int8,
    quantize_int4,
    quantize_int8,
)
from babelclip.checkpoint.weights import read_header, read_stored, write_safetensors
from babelclip.errors import WeightsError


def test_int8_is_symmetric_per_row_and_within_half_a_step() -> None:
    weight = np.random.default_rng(1).normal(size=(6, 4, 3, 3)).astype(np.float32) * np.arange(6).reshape(6, 1, 1, 1)
    values, scale = quantize_int8(weight)  # the first row is all zeros
    assert values.dtype == np.int8
    assert values.min() >= -127
    assert scale.shape == (6,)
    error = np.abs(dequantize_int8(values, scale) - weight)
    assert (error <= scale.reshape(6, 1, 1, 1) / 2 + 1e-7).all()
    assert (error[0] == 0).all()


def test_int8_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(WeightsError, match="scalar"):
        quantize_int8(np.array(1.0))
    with pytest.raises(WeightsError, match="NaN"):
        quantize_int8(np.array([[1.0, np.nan]]))


def test_int4_is_within_a_step_and_keeps_order_of_dimensions() -> None:
    table = np.random.default_rng(1).normal(size=(50, 96)).astype(np.float32) * np.arange(50)[:, None]
    packed, scale = quantize_int4(table)  # the first row is all zeros
    assert (packed.dtype, packed.shape, scale.dtype, scale.shape) == (np.uint8, (50, 48), np.float16, (50, 3))
    step = np.abs(scale.astype(np.float32)).repeat(32, axis=1)
    error = np.abs(dequantize_int4(packed, scale) - table)
    assert (
        error <= step * 1.01 + 1e-6
    ).all()  # a step where 8 would be wanted and 7 is the most, half of one elsewhere
    assert (error <= step * 0.51 + 1e-6).mean() > 0.97
    assert (error[0] == 0).all()


def test_what_was_on_an_int4_grid_stays_to_the_last_bit() -> None:
    random = np.random.default_rng(2)
    scale = random.normal(size=(40, 2, 1)).astype(np.float16)
    nibbles = random.integers(0, 16, (40, 2, 32))
    nibbles[:, :, 5] = 0  # every block reaches -8, as the format makes them
    table = ((nibbles - 8) * scale.astype(np.float32)).reshape(40, 64).astype(np.float32)
    assert np.array_equal(dequantize_int4(*quantize_int4(table)), table)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (np.zeros((2, 33)), "multiple of 32"),
        (np.zeros((2, 3, 32)), "multiple of 32"),
        (np.full((2, 32), 1e9), "float16"),
        (np.full((2, 32), np.nan), "float16"),
    ],
)
def test_int4_refuses_what_it_cannot_hold(table: np.ndarray, says: str) -> None:
    with pytest.raises(WeightsError, match=says):
        quantize_int4(table)


def test_an_int4_table_needs_its_scale(exported_folder, tmp_path: Path) -> None:
    source = exported_folder("small_int4")
    name = "text.embeddings.word.weight"
    tensors = {key: read_stored(entry) for key, entry in read_header(source / "model.safetensors").items()}
    for file in ("config.json", "preprocessing.json", "tokenizer.json"):
        (tmp_path / file).write_bytes((source / file).read_bytes())
    scale = tensors.pop(name + SCALE_SUFFIX)
    for wrong in ({}, {name + SCALE_SUFFIX: scale.array.astype(np.float32)}, {name + SCALE_SUFFIX: scale.array[:, :1]}):
        write_safetensors(tmp_path / "model.safetensors", tensors | wrong)
        with pytest.raises(WeightsError, match=r"is U8 and needs .scale of F16 \[1000, 2\] beside it"):
            read_folder(tmp_path).tensor_index()
    write_safetensors(tmp_path / "model.safetensors", tensors | {name + SCALE_SUFFIX: scale})
    assert read_folder(tmp_path).tensor_index()[name].dtype == "U8"
