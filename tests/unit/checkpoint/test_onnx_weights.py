"""Initializers of ONNX files without the ``onnx`` package: the same arrays as it reads, and nothing dubious."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from babelclip.checkpoint.onnx_weights import read_onnx_weights
from babelclip.errors import WeightsError


def model(*tensors: TensorProto) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    return helper.make_model(helper.make_graph([node], "graph", [], [], list(tensors)))


def floats() -> TensorProto:
    return numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "w")


def test_arrays_are_those_of_the_onnx_package() -> None:
    random = np.random.default_rng(0)
    made = model(
        floats(),
        numpy_helper.from_array(random.integers(-128, 128, (4, 5)).astype(np.int8), "bytes"),
        helper.make_tensor("listed", TensorProto.INT8, [2, 2], [-128, 0, 1, 127]),
        helper.make_tensor("listed floats", TensorProto.FLOAT, [3], [1.5, -2.0, 1e-30]),
        numpy_helper.from_array(np.float32(2.5), "scalar"),
        numpy_helper.from_array(np.zeros((0, 4), np.float32), "empty"),
    )
    found = read_onnx_weights(made.SerializeToString(), "it")
    assert list(found.tensors) == [one.name for one in made.graph.initializer]
    for one in made.graph.initializer:
        expected = numpy_helper.to_array(one)
        assert (found.tensors[one.name].dtype, found.tensors[one.name].shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found.tensors[one.name], expected)
        assert not found.tensors[one.name].flags.writeable
    assert [(node.kind, node.name, node.inputs) for node in found.nodes] == [("MatMul", "product", ("x", "w"))]


def wrong_tensors() -> dict[str, tuple[str, TensorProto]]:
    cut, long, double, outside, negative, both, few, beyond, nameless = (floats() for _ in range(9))
    cut.raw_data = cut.raw_data[:-1]
    long.dims[:] = [2, 4]
    double.data_type = TensorProto.DOUBLE
    outside.data_location = TensorProto.EXTERNAL
    negative.dims[:] = [-2, -3]
    both.float_data.append(1.0)
    few.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0]))
    few.dims[:] = [3]
    beyond.CopyFrom(helper.make_tensor("w", TensorProto.INT8, [1], [5]))
    beyond.int32_data[0] = 200
    nameless.name = ""
    return {
        "cut": ("has 23 bytes; expected 24", cut),
        "long": ("has 24 bytes; expected 32", long),
        "double": ("number type 11; expected float32", double),
        "outside": ("lies in another file", outside),
        "negative": (r"has shape \[-2, -3\]", negative),
        "both": ("has 24 bytes; expected 24", both),
        "few": ("has 2 numbers", few),
        "beyond": ("numbers beyond int8", beyond),
        "nameless": ("no name", nameless),
    }


@pytest.mark.parametrize("case", wrong_tensors())
def test_a_dubious_tensor_is_refused(case: str) -> None:
    says, tensor = wrong_tensors()[case]
    with pytest.raises(WeightsError, match=says):
        read_onnx_weights(model(tensor).SerializeToString(), "it")


def test_a_name_that_is_told_twice_is_refused() -> None:
    with pytest.raises(WeightsError, match="found 'w' again"):
        read_onnx_weights(model(floats(), floats()).SerializeToString(), "it")


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x3a\xff\xff\xff\xff\x0f", b"PK\x03\x04" * 9])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(WeightsError, match="it is not an ONNX file"):
        read_onnx_weights(content, "it")


def test_no_damage_gives_anything_but_an_array_or_an_error() -> None:
    """Cut anywhere, or any byte another: what is read has the shape that it says, or is refused."""
    content = model(floats(), helper.make_tensor("z", TensorProto.INT8, [3], [0, 1, 2])).SerializeToString()
    random = np.random.default_rng(0)
    flipped = [bytearray(content) for _ in range(4 * len(content))]
    for number, one in enumerate(flipped):
        one[number % len(content)] = random.integers(256)
    refused = 0
    for damaged in [content[:length] for length in range(len(content))] + [bytes(one) for one in flipped]:
        try:
            found = read_onnx_weights(damaged, "it")
        except WeightsError:
            refused += 1
            continue
        assert all(isinstance(array, np.ndarray) for array in found.tensors.values())
    assert refused > len(content)
