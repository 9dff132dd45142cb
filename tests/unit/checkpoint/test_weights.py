"""Reading and writing safetensors, against the safetensors library; int8."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

from babelclip.checkpoint.weights import (
    StoredTensor,
    names_not_finite,
    read_header,
    read_stored,
    read_tensor,
    to_stored,
    write_safetensors,
)
from babelclip.errors import WeightsError


def some_tensors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "odd": random.normal(size=(3, 5)).astype(np.float32),
        "half": random.normal(size=7).astype(np.float16),
        "scalar": np.array(2.5, np.float32),
        "int8": random.integers(-127, 128, (4, 3), np.int8),
        "empty": np.zeros((0, 4), np.float32),
    }


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", some_tensors())
    theirs = load_file(tmp_path / "a")
    assert theirs.keys() == some_tensors().keys()
    for name, tensor in some_tensors().items():
        assert theirs[name].dtype == tensor.dtype
        np.testing.assert_array_equal(theirs[name], tensor)


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    save_file(some_tensors(), tmp_path / "a")
    index = read_header(tmp_path / "a")
    for name, tensor in some_tensors().items():
        assert index[name].shape == tensor.shape
        np.testing.assert_array_equal(read_tensor(index[name]), tensor)


def test_bfloat16_keeps_its_bits_and_expands_exactly(tmp_path: Path) -> None:
    tensor = torch.randn(17, 3).to(torch.bfloat16)
    write_safetensors(tmp_path / "a", {"b": tensor})
    assert torch.equal(load_torch(tmp_path / "a")["b"], tensor)
    entry = read_header(tmp_path / "a")["b"]
    np.testing.assert_array_equal(read_tensor(entry), tensor.float().numpy())
    write_safetensors(tmp_path / "again", {"b": read_stored(entry)})
    assert (tmp_path / "again").read_bytes() == (tmp_path / "a").read_bytes()


def test_writing_to_a_mapped_tensor_never_reaches_the_file(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", some_tensors())
    before = (tmp_path / "a").read_bytes()
    read_tensor(read_header(tmp_path / "a")["odd"])[:] = 7
    assert (tmp_path / "a").read_bytes() == before


def test_tensors_start_on_a_cache_line_or_stay_aligned_to_their_items(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a", some_tensors())
    entries = sorted(read_header(tmp_path / "a").values(), key=lambda entry: entry.offset)
    assert entries[0].offset % 64 == 0
    assert all(entry.offset % {"F32": 4, "F16": 2, "I8": 1}[entry.dtype] == 0 for entry in entries)


@pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
def test_a_file_cut_short_is_an_error(tmp_path: Path, cut: int) -> None:
    write_safetensors(tmp_path / "a", some_tensors())
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"safetensors file|should have|unreadable"):
        read_header(tmp_path / "b")


def with_header(file: Path, header: object, data: bytes) -> Path:
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return file


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}, "dtype I64"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "does not fill"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}, "from 0 on"),
        ({"dtype": "F32", "shape": [2]}, "data_offsets"),
        (7, "data_offsets"),
    ],
)
def test_a_header_that_lies_is_an_error(tmp_path: Path, facts: object, says: str) -> None:
    with pytest.raises(WeightsError, match=says):
        read_header(with_header(tmp_path / "a", {"x": facts}, bytes(8)))


def test_tensors_of_other_kinds_are_refused() -> None:
    with pytest.raises(WeightsError, match="int64"):
        to_stored(np.arange(3))
    with pytest.raises(WeightsError, match="list"):
        to_stored([1.0])
    assert to_stored(StoredTensor("F32", np.zeros(2, np.float32))).dtype == "F32"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    bad = np.zeros((3, 2), np.float16)
    bad[1, 1] = value
    write_safetensors(tmp_path / "a", {"good": np.ones(3, np.float32), "bad": bad})
    assert names_not_finite(read_header(tmp_path / "a")) == ["bad"]
