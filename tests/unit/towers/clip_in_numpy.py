"""CLIP's image tower a second time, in NumPy and float64, straight from the paper's network and with names of its own.

A file of its own, because it must share no line with the tower that it is held against: patches are cut by reshaping,
heads one after the other, the softmax written out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def image_vectors(weights: Mapping[str, Array], pixels: Array, *, patch: int, heads: int, eps: float = 1e-5) -> Array:
    """(B, 3, S, S) normalized pixels -> (B, E); ``weights`` by the tower's names."""
    return np.stack([_one(weights, image, patch, heads, eps) for image in pixels])


def _one(weights: Mapping[str, Array], image: Array, patch: int, heads: int, eps: float) -> Array:
    side = image.shape[1] // patch
    rows = [weights["cls_token"].reshape(-1)]
    filters = weights["patches.projection.weight"]
    for row in range(side):
        for column in range(side):
            square = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            rows.append(np.array([(one * square).sum() for one in filters]))
    x = _norm(np.stack(rows) + weights["position_embedding"][0], weights, "pre_norm", eps)
    number = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    for block in range(number):
        name = f"blocks.{block}"
        x = x + _attend(_norm(x, weights, f"{name}.norm1", eps), weights, f"{name}.attention", heads)
        inner = _linear(_norm(x, weights, f"{name}.norm2", eps), weights, f"{name}.feed_forward.up")
        x = x + _linear(inner / (1 + np.exp(-1.702 * inner)), weights, f"{name}.feed_forward.down")
    return weights["projection.weight"] @ _norm(x[0], weights, "norm", eps)


def _attend(x: Array, weights: Mapping[str, Array], name: str, heads: int) -> Array:
    query, key, value = np.split(_linear(x, weights, f"{name}.qkv"), 3, axis=1)
    width = query.shape[1] // heads
    out = np.empty_like(query)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = np.exp(query[:, own] @ key[:, own].T / np.sqrt(width))
        out[:, own] = scores / scores.sum(axis=1, keepdims=True) @ value[:, own]
    return _linear(out, weights, f"{name}.out")


def _linear(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(x: Array, weights: Mapping[str, Array], name: str, eps: float) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + eps)
    return centered / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]
