"""Weights in fewer bits: int8 with a scale per output channel, and embedding tables in int4 with a scale per 32 values.

================  ==================================  ===========================================================
stored as         beside it, under ``X.scale``        value
================  ==================================  ===========================================================
I8 ``X`` (A, …)   F32 (A,)                            ``X * scale``, row by row of axis 0
U8 ``X`` (R, D/2) F16 (R, D/32)                       ``(nibble - 8) * scale``: low nibbles are dimensions 0 to
                                                      D/2 - 1 of the row, high ones the rest
================  ==================================  ===========================================================

The int4 form is that of ggml's Q4_0 (a block's largest value, sign included, becomes -8), so that a table which was on
such a grid already, as the word embeddings of a 4-bit teacher, is stored to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import WeightsError

SCALE_SUFFIX = ".scale"
BLOCK = 32  # values of a row that share an int4 scale
INT8, INT4 = "I8", "U8"  # as safetensors spells them; it has no four bits of its own


def is_quantized(dtype: str) -> bool:
    """Whether a tensor stored so needs its scale to be read."""
    return dtype in (INT8, INT4)


def stored_shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What a tensor of a shape has in the file."""
    return (*shape[:-1], shape[-1] // 2) if dtype == INT4 else shape


def scale_form(dtype: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
    """Dtype and shape of the scale of a tensor of a shape; None: it has none."""
    if dtype == INT8:
        return "F32", shape[:1]
    if dtype == INT4:
        return "F16", (*shape[:-1], shape[-1] // BLOCK)
    return None


def dequantize(dtype: str, values: NDArray[Any], scale: NDArray[Any]) -> NDArray[np.float32]:
    """The tensor as float32."""
    return dequantize_int8(values, scale) if dtype == INT8 else dequantize_int4(values, scale)


# ---------------------------------------------------------------- int8


def quantize_int8(weight: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric, per row of axis 0: (int8 of the same shape, float32 scale (rows,)); weight ~ int8 * scale.

    Raises:
        WeightsError: a scalar, or values that are not finite.
    """
    if weight.ndim == 0:
        raise WeightsError("a scalar cannot be stored as int8: it has no output channels")
    full = np.asarray(weight, np.float32)
    largest = np.abs(full).reshape(len(full), -1).max(axis=1, initial=0.0)
    if not np.isfinite(largest).all():
        raise WeightsError("a tensor with infinite or NaN values cannot be stored as int8")
    scale = np.where(largest > 0, largest / 127.0, 1.0).astype(np.float32)
    column = scale.reshape(-1, *[1] * (full.ndim - 1))
    return np.clip(np.rint(full / column), -127, 127).astype(np.int8), scale


def dequantize_int8(values: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of `quantize_int8`."""
    return values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1))


# ---------------------------------------------------------------- int4


def quantize_int4(table: NDArray[np.floating[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Rows (R, D) -> packed (R, D/2) and scales (R, D/32).

    Raises:
        WeightsError: not two axes, rows that are no multiple of 32 long, or values that float16 scales cannot hold.
    """
    if table.ndim != 2 or table.shape[1] % BLOCK:
        raise WeightsError(f"int4 stores tables whose rows are a multiple of {BLOCK} long, not {list(table.shape)}")
    blocks = np.asarray(table, np.float32).reshape(len(table), -1, BLOCK)
    furthest = np.abs(blocks).argmax(axis=2, keepdims=True)
    with np.errstate(over="ignore"):
        scale = (np.take_along_axis(blocks, furthest, axis=2) / -8.0).astype(np.float16)
    if not np.isfinite(scale).all():
        raise WeightsError("a table with values beyond float16 cannot be stored as int4")
    divisor = np.where(scale == 0, 1.0, scale.astype(np.float32))
    nibbles = np.clip(np.rint(blocks / divisor) + 8, 0, 15).astype(np.uint8).reshape(table.shape)
    low, high = np.split(nibbles, 2, axis=1)
    return low | (high << 4), scale[..., 0]


def dequantize_int4(packed: NDArray[np.uint8], scale: NDArray[np.float16]) -> NDArray[np.float32]:
    """Inverse of `quantize_int4`."""
    nibbles = np.concatenate((packed & 0x0F, packed >> 4), axis=1).astype(np.float32)
    blocks = nibbles.reshape(len(packed), -1, BLOCK) - 8
    values: NDArray[np.float32] = blocks * scale.astype(np.float32)[..., None]
    return values.reshape(len(packed), -1)
