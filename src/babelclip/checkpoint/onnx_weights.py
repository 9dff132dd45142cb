"""The weights inside another maker's ONNX file, read and never run.

A file of its own, because it knows the format and nothing of what the weights mean. Every tensor is checked against its
own shape and number type before it becomes an array; what is stored otherwise than inside the file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.checkpoint.onnx_messages import EXTERNAL, FLOAT, INT8, parse_model
from babelclip.errors import WeightsError

_DTYPES: dict[int, tuple[np.dtype[Any], str]] = {
    FLOAT: (np.dtype("<f4"), "float_data"),
    INT8: (np.dtype("i1"), "int32_data"),
}
"""Number type of the file -> that of the array, and the field that small tensors may have in place of bytes."""


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One step of the graph."""

    kind: str  # as ONNX names operators
    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnnxWeights:
    """What is read of a file."""

    tensors: Mapping[str, NDArray[Any]]  # initializers by name, read only
    nodes: tuple[OnnxNode, ...]


def read_onnx_weights(content: bytes, where: str) -> OnnxWeights:
    """All initializers of a graph, and its nodes, which say what the initializers are for.

    Args:
        content: The file.
        where: What it is, for messages.

    Raises:
        WeightsError: No ONNX file, a number type other than float32 and int8, a tensor that does not fill its shape,
            is told twice, or lies in another file.
    """
    graph = parse_model(content, where).graph
    tensors: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.name in tensors or not tensor.name:
            raise WeightsError(f"{where}: expected one tensor of each name, found {tensor.name!r} again or no name")
        tensors[tensor.name] = _array(tensor, where)
    nodes = tuple(OnnxNode(node.op_type, node.name, tuple(node.input)) for node in graph.node)
    return OnnxWeights(tensors, nodes)


def _array(tensor: Any, where: str) -> NDArray[Any]:
    shape = tuple(tensor.dims)
    if tensor.data_type not in _DTYPES:
        raise WeightsError(
            f"{where}: {tensor.name} has number type {tensor.data_type}; expected float32 (1) or int8 (3)"
        )
    if tensor.data_location == EXTERNAL or tensor.external_data:
        raise WeightsError(f"{where}: {tensor.name} lies in another file; expected all tensors inside")
    if any(side < 0 for side in shape):
        raise WeightsError(f"{where}: {tensor.name} has shape {list(shape)}")
    dtype, listed = _DTYPES[tensor.data_type]
    numbers = getattr(tensor, listed)
    if tensor.HasField("raw_data"):
        found, expected = len(tensor.raw_data), math.prod(shape) * dtype.itemsize
        if found != expected or len(numbers):
            raise WeightsError(f"{where}: {tensor.name} of shape {list(shape)} has {found} bytes; expected {expected}")
        return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
    if len(numbers) != math.prod(shape):
        raise WeightsError(f"{where}: {tensor.name} of shape {list(shape)} has {len(numbers)} numbers")
    wide = np.array(numbers, np.float32 if dtype.kind == "f" else np.int64)
    array = wide.astype(dtype)
    if dtype.kind == "i" and (array != wide).any():
        raise WeightsError(f"{where}: {tensor.name} has numbers beyond int8")
    array.flags.writeable = False
    return array.reshape(shape)
