"""The image tower inside the teacher's graph -> tensors of ours, int8 numbers and scales bit for bit.

The graph multiplies int8 matrices, (in, out) with a scale per output channel and a zero point of zero: exactly what
`babelclip.checkpoint.quantized` stores, but for the order of axes. Only that is changed. The projection alone becomes
floats where it is turned. The graph itself is never run: on processors without VNNI its sums saturate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.checkpoint.onnx_weights import OnnxWeights
from babelclip.checkpoint.quantized import SCALE_SUFFIX, dequantize_int8
from babelclip.errors import ConfigError, WeightsError
from babelclip.towers.config import ClipVisionConfig

MAX_BEND = 1e-3
"""Largest entry of ``turn @ turn.T`` less the identity: what float16 leaves of an orthogonal matrix stays below it."""

_MODEL = "vision_model."
_FLOATS = {
    "patches.projection.weight": "embeddings.patch_embedding.weight",
    "position_embedding": "embeddings.position_embedding.weight",
    "cls_token": "embeddings.class_embedding",
    "pre_norm.weight": "pre_layrnorm.weight",  # spelled so by its makers
    "pre_norm.bias": "pre_layrnorm.bias",
    "norm.weight": "post_layernorm.weight",
    "norm.bias": "post_layernorm.bias",
}
_BLOCK_FLOATS = {
    "norm1.weight": ("layer_norm1.weight",),
    "norm1.bias": ("layer_norm1.bias",),
    "attention.qkv.bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "attention.out.bias": ("self_attn.out_proj.bias",),
    "norm2.weight": ("layer_norm2.weight",),
    "norm2.bias": ("layer_norm2.bias",),
    "feed_forward.up.bias": ("mlp.fc1.bias",),
    "feed_forward.down.bias": ("mlp.fc2.bias",),
}
_BLOCK_MATRICES = {
    "attention.qkv": ("self_attn/q_proj", "self_attn/k_proj", "self_attn/v_proj"),
    "attention.out": ("self_attn/out_proj",),
    "feed_forward.up": ("mlp/fc1",),
    "feed_forward.down": ("mlp/fc2",),
}
"""Ours -> the teacher's, below each block; several become one, in this order."""


def image_tensors(source: OnnxWeights, config: ClipVisionConfig, turn: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """All tensors of the image tower by our names (``vision.…``), matrices as int8 with their scales.

    Args:
        source: What was read of the teacher's graph.
        config: Sizes of the tower.
        turn: (E, E) orthogonal, by which vectors are turned: ``turn @ vector``; None: vectors stay the teacher's own.

    Raises:
        WeightsError: Tensors are missing or left over, both listed; or a matrix has a zero point.
        ConfigError: The turn is not orthogonal, or of another width.
    """
    teacher = _Teacher(source)
    tensors = {ours: teacher.take(_MODEL + theirs) for ours, theirs in _FLOATS.items()}
    tensors["cls_token"] = tensors["cls_token"].reshape(1, 1, -1)
    tensors["position_embedding"] = tensors["position_embedding"][None]
    for block in range(config.num_layers):
        for ours, names in _BLOCK_FLOATS.items():
            parts = [teacher.take(f"{_MODEL}encoder.layers.{block}.{name}") for name in names]
            tensors[f"blocks.{block}.{ours}"] = np.concatenate(parts)
        for ours, names in _BLOCK_MATRICES.items():
            pairs = [teacher.matrix(f"/vision_model/encoder/layers.{block}/{name}") for name in names]
            tensors |= _stored(f"blocks.{block}.{ours}", *map(np.concatenate, zip(*pairs, strict=True)))
    values, scale = teacher.matrix("/visual_projection")
    if turn is None:
        tensors |= _stored("projection", values, scale)
    else:
        tensors["projection.weight"] = turned(dequantize_int8(values, scale), turn)
    teacher.check()
    return {f"vision.{name}": tensor for name, tensor in tensors.items()}


def turned(projection: NDArray[Any], turn: NDArray[Any]) -> NDArray[np.float32]:
    """A projection (E, D) whose vectors are turned: (E, E) @ (E, D), summed in float64.

    Raises:
        ConfigError: The turn is not orthogonal, or of another width.
    """
    width = len(projection)
    if turn.shape != (width, width):
        raise ConfigError(f"the turn must be {width} x {width} numbers, found {' x '.join(map(str, turn.shape))}")
    wide = turn.astype(np.float64)
    bend = float(np.abs(wide @ wide.T - np.eye(width)).max())
    if not bend <= MAX_BEND:  # NaN fails too
        raise ConfigError(f"the turn must be orthogonal, so that cosines stay: off by {bend:.2g}, at most {MAX_BEND:g}")
    return np.asarray(wide @ projection, np.float32)


def _stored(name: str, values: NDArray[Any], scale: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {f"{name}.weight": np.ascontiguousarray(values), f"{name}.weight{SCALE_SUFFIX}": scale}


class _Teacher:
    """The graph's tensors, and which of them were used."""

    def __init__(self, source: OnnxWeights) -> None:
        self._tensors: Mapping[str, NDArray[Any]] = source.tensors
        self._left = set(source.tensors)
        self._missing: list[str] = []
        self._matrices = {
            node.name.removesuffix("/MatMul_quant"): node.inputs
            for node in source.nodes
            if node.kind == "MatMulInteger" and len(node.inputs) == 4
        }

    def take(self, name: str) -> NDArray[Any]:
        self._left.discard(name)
        if name not in self._tensors:
            self._missing.append(name)
            return np.zeros((1, 1), np.float32)
        return self._tensors[name]

    def matrix(self, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """The int8 matrix of a layer as (out, in), and its scales (out,)."""
        if name not in self._matrices:
            self._missing.append(f"{name}/MatMul_quant")
            return np.zeros((1, 1), np.int8), np.zeros(1, np.float32)
        _, weight, _, zero_point = self._matrices[name]
        names = weight, weight.removesuffix("_quantized") + "_scale", zero_point
        values, scale, zero = (self.take(one) for one in names)
        if values.dtype != np.int8 or values.ndim != 2 or scale.shape != values.shape[1:] or scale.dtype != np.float32:
            raise WeightsError(
                f"{weight}: expected int8 (in, out) with a float32 scale for each output, found {values.dtype} "
                f"{list(values.shape)} with {scale.dtype} {list(scale.shape)}"
            )
        if np.any(zero):
            raise WeightsError(f"{zero_point}: expected zero points of zero, found others")
        return values.T, scale

    def check(self) -> None:
        """Raise where something is missing or left over."""
        if self._missing or self._left:
            raise WeightsError(
                f"the teacher's graph is not the one that is expected. Missing ({len(self._missing)}): "
                f"{', '.join(self._missing[:5])}. Left over ({len(self._left)}): {', '.join(sorted(self._left)[:5])}"
            )
