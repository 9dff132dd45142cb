"""Tensors in safetensors files: read by memory map, written in one pass.

The format is read here directly (8 bytes little-endian header length, a JSON header, then the bytes of all tensors
without holes), because NumPy has no bfloat16 and because the ONNX export needs each tensor's place in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_write import atomic_path
from babelclip.checkpoint.quantized import SCALE_SUFFIX, dequantize, is_quantized
from babelclip.errors import WeightsError

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the bits; NumPy has no such float
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),  # two int4 values a byte (``babelclip.checkpoint.quantized``)
}
"""Stored dtype -> the NumPy dtype that holds its bytes. Other dtypes have no place in a model's weights."""

_MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library too
_ALIGNMENT = 64  # bytes; the data starts on a cache line, and so do most tensors


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor's place on disk."""

    file: Path
    dtype: str  # as safetensors spells it: F32, F16, BF16, I8, U8
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file
    nbytes: int
    source: str  # its name in the file


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor exactly as stored: the bits of a BF16 one are uint16."""

    dtype: str
    array: NDArray[Any]


# ---------------------------------------------------------------- reading


def read_header(file: Path) -> dict[str, TensorEntry]:
    """Name in the file -> entry. Checks the header, sizes, and that the tensors fill the file, each byte once.

    Raises:
        WeightsError: not a safetensors file, cut short, with tensors that overlap or leave holes, or holding a dtype
            that no model weight has.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise WeightsError(f"{file} is not a safetensors file (size {size} bytes); a broken or partial download?")
        try:
            header = json.loads(stream.read(length), object_pairs_hook=_each_once)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{file} has an unreadable safetensors header: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{file} has an unreadable safetensors header: expected an object, found {header!r:.80}")
    header.pop("__metadata__", None)
    entries = {name: _entry(file, name, facts, 8 + length) for name, facts in header.items()}
    end = max((entry.offset + entry.nbytes for entry in entries.values()), default=8 + length)
    if end != size:
        raise WeightsError(f"{file} should have {end} bytes by its header and has {size}: fetch or copy it again")
    _check_places(file, entries, 8 + length)
    return entries


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose names may not be told twice: readers would take the first or the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = sorted({name for name, _ in pairs if [other for other, _ in pairs].count(name) > 1})
        raise ValueError(f"it names {', '.join(twice[:3])} twice")
    return found


def _check_places(file: Path, entries: Mapping[str, TensorEntry], start: int) -> None:
    """The format has neither holes nor bytes that two tensors share."""
    before, position = "the header", start
    for entry in sorted(entries.values(), key=lambda each: (each.offset, each.nbytes)):
        if entry.offset != position:
            what = "overlap" if entry.offset < position else f"leave {entry.offset - position} bytes between them"
            raise WeightsError(f"{file}: {before} and tensor {entry.source} {what}: fetch or copy it again")
        before, position = f"tensor {entry.source}", position + entry.nbytes


def _entry(file: Path, name: str, facts: Mapping[str, Any], data_start: int) -> TensorEntry:
    try:
        dtype, shape = facts["dtype"], tuple(_whole(n) for n in facts["shape"])
        first, last = (_whole(n) for n in facts["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{file}: tensor {name} has no dtype, shape and data_offsets in the header: {error}"
        ) from error
    if not isinstance(dtype, str) or dtype not in NUMPY_DTYPES:
        known = ", ".join(NUMPY_DTYPES)
        raise WeightsError(f"{file}: tensor {name} has dtype {dtype}; weights may have {known}")
    if first < 0 or last - first != math.prod(shape) * NUMPY_DTYPES[dtype].itemsize:
        raise WeightsError(f"{file}: tensor {name} of {dtype} {shape} does not fill its {last - first} bytes")
    return TensorEntry(file, dtype, shape, data_start + first, last - first, name)


def _whole(number: object) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"expected a whole number from 0 on, found {number!r:.40}")
    return number


def read_stored(entry: TensorEntry) -> StoredTensor:
    """The tensor without a conversion, mapped copy-on-write: writing to it never reaches the file."""
    dtype = NUMPY_DTYPES[entry.dtype]
    if entry.nbytes == 0:
        return StoredTensor(entry.dtype, np.zeros(entry.shape, dtype))
    mapped = np.memmap(entry.file, dtype, "c", entry.offset, math.prod(entry.shape))
    return StoredTensor(entry.dtype, np.asarray(mapped).reshape(entry.shape))


def read_tensor(entry: TensorEntry) -> NDArray[Any]:
    """The tensor as stored (memory-mapped), except that bfloat16 becomes float32, which holds it exactly."""
    stored = read_stored(entry)
    return bfloat16_to_float32(stored.array) if stored.dtype == "BF16" else stored.array


def read_float32(index: Mapping[str, TensorEntry], name: str) -> NDArray[np.float32]:
    """A tensor by our name as float32; quantized ones are multiplied by their scale."""
    entry = index[name]
    if not is_quantized(entry.dtype):
        return np.asarray(read_tensor(entry), np.float32)
    return dequantize(entry.dtype, read_tensor(entry), read_tensor(index[name + SCALE_SUFFIX]))


def bfloat16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """A bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


# ---------------------------------------------------------------- writing


def to_stored(tensor: Any) -> StoredTensor:
    """What a NumPy array, a torch tensor or a `StoredTensor` becomes on disk; dtypes are kept.

    Raises:
        WeightsError: a dtype that has no place in a model's weights.
    """
    if isinstance(tensor, StoredTensor):
        return tensor
    if isinstance(tensor, np.ndarray | np.generic):
        return _from_numpy(np.asarray(tensor))
    if not hasattr(tensor, "detach"):
        raise WeightsError(f"a tensor is expected, not {type(tensor).__name__}")
    plain = tensor.detach().cpu()
    if str(plain.dtype) == "torch.bfloat16":  # NumPy cannot take it; its bits are the upper half of the float32
        bits = np.ascontiguousarray(plain.float().numpy()).view(np.uint32) >> 16
        return StoredTensor("BF16", bits.astype(np.uint16).reshape(tuple(plain.shape)))
    return _from_numpy(plain.numpy())


def _from_numpy(array: NDArray[Any]) -> StoredTensor:
    for name, dtype in NUMPY_DTYPES.items():
        if name != "BF16" and array.dtype == dtype:
            return StoredTensor(name, array)
    raise WeightsError(f"a tensor of dtype {array.dtype} cannot be stored; use float32, float16, bfloat16 or int8")


def write_safetensors(file: Path, tensors: Mapping[str, Any]) -> None:
    """Write one safetensors file; arrays may be memory-mapped, nothing is copied as a whole.

    Order: wide dtypes first (so that every tensor stays aligned to its item size), then by name.
    """
    stored = {name: to_stored(tensor) for name, tensor in tensors.items()}
    order = sorted(stored, key=lambda name: (-NUMPY_DTYPES[stored[name].dtype].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        end = position + stored[name].array.nbytes
        shape = list(stored[name].array.shape)
        header[name] = {"dtype": stored[name].dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    with atomic_path(file) as unfinished, unfinished.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            stream.write(np.ascontiguousarray(stored[name].array).data)


# ---------------------------------------------------------------- checking


def names_not_finite(index: Mapping[str, TensorEntry]) -> list[str]:
    """Names of float tensors that hold an infinity or a NaN; reads every weight once, a piece at a time."""
    bad = []
    for name, entry in index.items():
        if is_quantized(entry.dtype):
            continue
        flat = read_tensor(entry).reshape(-1)
        pieces = (flat[first : first + 2**22] for first in range(0, max(len(flat), 1), 2**22))
        if not all(bool(np.isfinite(piece).all()) for piece in pieces):
            bad.append(name)
    return bad
