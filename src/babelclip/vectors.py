"""Vectors after a tower: cut, normalize, compare, rank, quantize. NumPy alone."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError

Quantized = Literal["int8", "uint8", "binary", "ubinary"]

SMALLEST_NORM = 1e-12
"""A shorter vector is divided by this instead of its norm, so a zero vector stays zero; as published
(docs/reference/published-model.md#vectors)."""


def finish(raw: NDArray[Any], dim: int | None = None, normalize: bool = True) -> Vectors:
    """Vectors (N, E) cut to their first ``dim`` numbers and then normalized, as float32 (N, dim).

    The order matters: what is cut is normalized again (docs/reference/published-model.md#vectors). Any width from 1 to
    E is allowed, ``None`` keeps E. A width out of range is a ``ConfigError``.
    """
    if raw.ndim != 2:
        raise ConfigError(f"vectors must have the shape (N, E), found {raw.shape}")
    width = raw.shape[1]
    if dim is None:
        dim = width
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer) or not 1 <= dim <= width:
        raise ConfigError(f"dim must be a whole number from 1 to {width}, found {dim!r}")
    vectors = np.array(raw[:, :dim], dtype=np.float32, order="C")  # always a copy: the caller's array stays as it is
    return _normalized(vectors) if normalize else vectors


def similarity(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """Cosine of every row of ``first`` (N, E) with every row of ``second`` (M, E): float32 (N, M).

    A single vector (E,) counts as one row. Vectors need not be normalized; a zero vector gives zeros, NaN gives NaN.
    Quantized forms are refused, because packed bits would give a number that means nothing.
    """
    rows, columns = _as_rows(first), _as_rows(second)
    if rows.shape[1] != columns.shape[1]:
        raise ConfigError(
            f"vectors of widths {rows.shape[1]} and {columns.shape[1]} cannot be compared: give both the same dim"
        )
    return _normalized(rows) @ _normalized(columns).T


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def top_k(scores: NDArray[Any], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``k`` best columns of each row of ``scores`` (N, M), best first: (indices, scores), both (N, min(k, M)).

    Equal scores keep the order of the columns, so results can be repeated. NaN ranks last.
    """
    if scores.ndim != 2:
        raise ConfigError(f"scores must have the shape (N, M), found {scores.shape}")
    if k < 1:
        raise ConfigError(f"k must be at least 1, found {k}")
    rows, columns = scores.shape
    k = min(k, columns)
    indices = np.empty((rows, k), dtype=np.int64)
    for row in range(rows if k else 0):
        costs = -np.nan_to_num(scores[row], nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        # Only columns that reach the k-th place are sorted; all ties at that place stay in, so the sort settles them.
        candidates = np.flatnonzero(costs <= np.partition(costs, k - 1)[k - 1])
        indices[row] = candidates[np.argsort(costs[candidates], kind="stable")][:k]
    return indices, np.take_along_axis(scores, indices, axis=1).astype(np.float32)


def quantize(vectors: NDArray[Any], kind: Quantized) -> NDArray[np.int8] | NDArray[np.uint8]:
    """Vectors (..., E) of floats in a smaller form.

    - ``int8``: round(127 x) of the normalized vector, within -127..127; ``uint8``: the same + 128. Both (..., E).
    - ``ubinary``: one bit a number, 1 where it is above zero, packed most significant bit first and filled
      up with zero bits: uint8 (..., ceil(E / 8)). ``binary``: the same bytes - 128, as int8 (not two's complement).

    NaN (the row of a failed item) has no quantized form and is a ``ConfigError``, as are other kinds.
    """
    if kind not in get_args(Quantized):
        raise ConfigError(f"unknown quantization {kind!r}; known are {', '.join(get_args(Quantized))}")
    if vectors.ndim < 1 or not np.issubdtype(vectors.dtype, np.floating):
        raise ConfigError(f"quantization needs vectors of floats, found {vectors.dtype} of the shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ConfigError("vectors with NaN or infinity cannot be quantized: leave out the rows of failed items")
    if kind in ("binary", "ubinary"):
        packed = np.packbits(vectors > 0, axis=-1)
        return packed if kind == "ubinary" else (packed.astype(np.int16) - 128).astype(np.int8)
    scaled = np.clip(np.rint(127 * _normalized(vectors.astype(np.float32))), -127, 127).astype(np.int16)
    return scaled.astype(np.int8) if kind == "int8" else (scaled + 128).astype(np.uint8)


def _normalized(vectors: Vectors) -> Vectors:
    """Rows of length one, along the last axis."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, np.float32(SMALLEST_NORM))


def _as_rows(vectors: NDArray[Any]) -> Vectors:
    if vectors.ndim not in (1, 2) or not np.issubdtype(vectors.dtype, np.floating):
        raise ConfigError(
            f"similarity needs vectors of floats of the shape (N, E) or (E,), "
            f"found {vectors.dtype} of the shape {vectors.shape}"
        )
    return np.atleast_2d(vectors).astype(np.float32, copy=False)
