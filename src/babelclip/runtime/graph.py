"""A graph that owns no weights: every weight is read from the model's safetensors files.

The tower has been traced with float32 weights (``export``); here each weight's initializer is exchanged for the tensor
as it is stored, followed by what makes it float32:

    F32         the stored tensor itself
    F16, BF16   Cast
    I8          Cast, times the float32 scale of each row (axis 0)
    U8          int4 of an embedding table: nibbles apart, less 8, times the float16 scale of each 32

ONNX Runtime folds these once when it opens the graph. Embedding tables are converted after the look-up instead: only
the rows in use become float32, and the table stays in the mapped file. Everything is computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as ir_passes
import onnxscript.optimizer

from babelclip.checkpoint.quantized import BLOCK, INT4, SCALE_SUFFIX, is_quantized, stored_shape
from babelclip.checkpoint.weights import TensorEntry
from babelclip.errors import WeightsError
from babelclip.runtime.exported import FORMAT

INLINE_LIMIT = 2**22
"""Bytes; constants over this that are no weights of the folder mean a weight was lost on the way."""

_STORED = {
    "F32": ir.DataType.FLOAT,
    "F16": ir.DataType.FLOAT16,
    "BF16": ir.DataType.BFLOAT16,
    "I8": ir.DataType.INT8,
    "U8": ir.DataType.UINT8,
}


def point_to_weights(model: ir.Model, parameters: Iterable[str], prefix: str, index: Mapping[str, TensorEntry]) -> None:
    """Exchange the weights in the graph for references into the files of ``index``, and simplify the rest. In place.

    Args:
        model: the graph.
        parameters: names of the tower's weights, which are those of the initializers.
        prefix: what they lack to be names of the index ("text." or "vision.").
        index: our name -> place on disk.

    Raises:
        WeightsError: a weight of the tower is not in the index, or data is left that is in no file.
    """
    graph = model.graph
    stored: dict[str, ir.Value] = {}
    for name in parameters:
        value = graph.initializers.pop(name, None)
        if value is None or not value.uses():  # not on the way to the output, as the pooler of jina-embeddings-v3
            continue
        _exchange(graph, value, prefix + name, index, stored)
    # as inputs, weights are opaque to the simplifier: what hangs on them alone is left for ONNX Runtime to fold
    graph.inputs.extend(stored.values())
    onnxscript.optimizer.optimize(model)
    ir_passes.ClearMetadataAndDocStringPass()(model)  # stack traces, with the paths of the machine that exports
    del graph.inputs[len(graph.inputs) - len(stored) :]
    for name, value in stored.items():
        value.const_value = _reference(index[name], name)
        graph.initializers[name] = value
    _check_left_over(graph, stored)
    model.producer_name, model.producer_version = "babelclip", str(FORMAT)


def write_graph(model: ir.Model, path: Path) -> None:
    """Write the graph; the references stay references."""
    ir.save(model, path)


def _exchange(
    graph: ir.Graph, value: ir.Value, name: str, index: Mapping[str, TensorEntry], stored: dict[str, ir.Value]
) -> None:
    """Replace every use of a float32 initializer by the stored tensor made float32."""
    if name not in index:
        raise WeightsError(f"the graph needs {name}, which the model's files do not hold")
    entry = index[name]
    if value.shape is None or stored_shape(entry.dtype, value.shape.numpy()) != entry.shape:
        raise WeightsError(f"the graph needs {name} of shape {value.shape}, the file has {entry.shape}")
    weight = stored[name] = _stored_value(entry, name)
    scale = None
    if is_quantized(entry.dtype):
        scale = stored[name + SCALE_SUFFIX] = _stored_value(index[name + SCALE_SUFFIX], name + SCALE_SUFFIX)
    whole = None
    for node, position in list(value.uses()):
        if entry.dtype == "F32":
            node.replace_input_with(position, weight)
        elif node.op_type == "Gather" and position == 0 and node.attributes["axis"].as_int() == 0:
            convert = _gather_then_unpack if entry.dtype == INT4 else _gather_then_convert
            rows = convert(graph, node, weight, scale)
            node.outputs[0].replace_all_uses_with(rows)
            graph.remove(node, safe=True)
        elif entry.dtype == INT4:
            raise WeightsError(f"{name} is stored as int4, which is for tables that rows are looked up in")
        else:
            if whole is None:
                whole = _convert(graph, node, weight, scale, len(entry.shape))
            node.replace_input_with(position, whole)


def _convert(graph: ir.Graph, before: ir.Node, weight: ir.Value, scale: ir.Value | None, rank: int) -> ir.Value:
    """The whole tensor as float32, computed at the head of the graph."""
    first = graph[0]
    cast = ir.node("Cast", [weight], {"to": ir.DataType.FLOAT})
    if scale is None:
        graph.insert_before(first, [cast])
        return cast.outputs[0]
    shape = ir.node("Constant", [], {"value": ir.tensor([-1, *[1] * (rank - 1)])})
    column = ir.node("Reshape", [scale, shape.outputs[0]])
    product = ir.node("Mul", [cast.outputs[0], column.outputs[0]])
    graph.insert_before(first, [cast, shape, column, product])
    return product.outputs[0]


def _gather_then_convert(graph: ir.Graph, gather: ir.Node, table: ir.Value, scale: ir.Value | None) -> ir.Value:
    """Rows of an embedding table as float32: (rows, D) table, (...) ids -> (..., D)."""
    ids = gather.inputs[1]
    rows = ir.node("Gather", [table, ids], {"axis": 0})
    cast = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT})
    if scale is None:
        graph.insert_before(gather, [rows, cast])
        return cast.outputs[0]
    scales = ir.node("Gather", [scale, ids], {"axis": 0})
    last = ir.node("Constant", [], {"value": ir.tensor([-1])})
    column = ir.node("Unsqueeze", [scales.outputs[0], last.outputs[0]])
    product = ir.node("Mul", [cast.outputs[0], column.outputs[0]])
    graph.insert_before(gather, [rows, cast, scales, last, column, product])
    return product.outputs[0]


def _gather_then_unpack(graph: ir.Graph, gather: ir.Node, table: ir.Value, scale: ir.Value | None) -> ir.Value:
    """The same of an int4 table (rows, D/2): ids (B, T) -> (B, T, D)."""
    assert scale is not None, "an int4 table has scales"
    ids, nodes = gather.inputs[1], []

    def add(kind: str, inputs: list[ir.Value | None], **attributes: Any) -> ir.Value:
        nodes.append(ir.node(kind, inputs, attributes))
        return nodes[-1].outputs[0]

    def constant(value: Any, dtype: ir.DataType) -> ir.Value:
        return add("Constant", [], value=ir.tensor(value, dtype=dtype))

    packed = add("Gather", [table, ids], axis=0)
    low = add("BitwiseAnd", [packed, constant([15], ir.DataType.UINT8)])
    high = add("BitShift", [packed, constant([4], ir.DataType.UINT8)], direction="RIGHT")
    nibbles = add("Cast", [add("Concat", [low, high], axis=-1)], to=ir.DataType.FLOAT)
    centered = add("Sub", [nibbles, constant([8.0], ir.DataType.FLOAT)])
    blocks = add("Reshape", [centered, constant([0, 0, -1, BLOCK], ir.DataType.INT64)])
    scales = add("Cast", [add("Gather", [scale, ids], axis=0)], to=ir.DataType.FLOAT)
    column = add("Unsqueeze", [scales, constant([-1], ir.DataType.INT64)])
    rows = add("Reshape", [add("Mul", [blocks, column]), constant([0, 0, -1], ir.DataType.INT64)])
    graph.insert_before(gather, nodes)
    return rows


def _stored_value(entry: TensorEntry, name: str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(entry.shape), type=ir.TensorType(_STORED[entry.dtype]))


def _reference(entry: TensorEntry, name: str) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        entry.file.name, entry.offset, entry.nbytes, _STORED[entry.dtype], shape=ir.Shape(entry.shape), name=name
    )


def _check_left_over(graph: ir.Graph, stored: Mapping[str, ir.Value]) -> None:
    """Constants are small; a large one is a weight that was rewritten and would be stored twice."""
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if name not in stored and tensor is not None and tensor.nbytes > INLINE_LIMIT:
            raise WeightsError(
                f"the graph holds {name} ({tensor.nbytes} bytes), which is no tensor of the model's files"
            )
