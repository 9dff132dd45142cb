"""The teacher's tensors become ours bit for bit; what is not the expected graph is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tests.unit.base_model.conftest import CONFIG, teacher_graph

from babelclip.base_model.image_weights import image_tensors, turned
from babelclip.checkpoint.onnx_weights import read_onnx_weights
from babelclip.errors import ConfigError, WeightsError


def converted(graph: onnx.ModelProto, turn: NDArray[Any] | None = None) -> dict[str, NDArray[Any]]:
    return image_tensors(read_onnx_weights(graph.SerializeToString(), "teacher"), CONFIG, turn)


def by_name(graph: onnx.ModelProto) -> dict[str, Any]:
    return {one.name: one for one in graph.graph.initializer}


def matrix(graph: onnx.ModelProto, layer: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """As the ``onnx`` package reads it: (in, out) int8, (out,) scales."""
    (name,) = (node.input[1] for node in graph.graph.node if node.name == f"{layer}/MatMul_quant")
    found = by_name(graph)
    return numpy_helper.to_array(found[name]), numpy_helper.to_array(found[name.replace("_quantized", "_scale")])


def test_stored_numbers_are_the_teachers_own() -> None:
    graph = teacher_graph()
    ours = converted(graph)
    layers = {
        "attention.qkv": ("self_attn/q_proj", "self_attn/k_proj", "self_attn/v_proj"),
        "attention.out": ("self_attn/out_proj",),
        "feed_forward.up": ("mlp/fc1",),
        "feed_forward.down": ("mlp/fc2",),
    }
    pairs = {
        f"blocks.{block}.{name}": [f"/vision_model/encoder/layers.{block}/{one}" for one in theirs]
        for block in range(CONFIG.num_layers)
        for name, theirs in layers.items()
    } | {"projection": ["/visual_projection"]}
    for name, theirs in pairs.items():
        values, scales = ours[f"vision.{name}.weight"], ours[f"vision.{name}.weight.scale"]
        assert (values.dtype, scales.dtype) == (np.int8, np.float32)
        expected = [matrix(graph, one) for one in theirs]
        assert np.array_equal(values, np.concatenate([one.T for one, _ in expected]))
        assert np.array_equal(scales, np.concatenate([one for _, one in expected]))
    floats = {name: tensor for name, tensor in ours.items() if tensor.dtype != np.int8 and ".scale" not in name}
    assert len(floats) == 7 + 8 * CONFIG.num_layers
    kept = {tensor.tobytes() for tensor in floats.values()}
    for name, tensor in by_name(graph).items():
        if name.startswith("vision_model.") and "_proj" not in name:
            assert numpy_helper.to_array(tensor).tobytes() in kept, name


def test_a_turn_is_part_of_the_projection() -> None:
    graph = teacher_graph()
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))
    plain, found = converted(graph), converted(graph, turn)
    values, scales = matrix(graph, "/visual_projection")
    np.testing.assert_allclose(found["vision.projection.weight"], turn @ (values * scales).T, rtol=0, atol=1e-6)
    assert found["vision.projection.weight"].dtype == np.float32
    assert set(plain) - set(found) == {"vision.projection.weight.scale"}
    for name in set(found) - {"vision.projection.weight"}:
        assert np.array_equal(found[name], plain[name])


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (np.eye(12), "16 x 16 numbers, found 12 x 12"),
        (np.ones((16, 16, 1)), "found 16 x 16 x 1"),
        (np.eye(16) * 1.01, "orthogonal"),
        (np.ones((16, 16)), "orthogonal"),
        (np.full((16, 16), np.nan), "orthogonal"),
    ],
)
def test_a_turn_that_bends_is_refused(turn: NDArray[Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        converted(teacher_graph(), turn)


def test_the_rounding_of_float16_is_no_bend() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((512, 512)))
    assert turned(np.eye(512, dtype=np.float32), turn.astype(np.float16)).shape == (512, 512)


def test_another_graph_is_refused() -> None:
    graph = teacher_graph()
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "a_surprise"))
    with pytest.raises(WeightsError, match=r"Left over \(1\): a_surprise"):
        converted(graph)
    graph = teacher_graph()
    del graph.graph.node[0]
    with pytest.raises(WeightsError, match=r"Missing \(1\): /visual_projection/MatMul_quant.*Left over \(3\)"):
        converted(graph)
    graph = teacher_graph()
    (lost,) = (one for one in graph.graph.initializer if one.name == "vision_model.pre_layrnorm.bias")
    graph.graph.initializer.remove(lost)
    with pytest.raises(WeightsError, match=r"Missing \(1\): vision_model\.pre_layrnorm\.bias"):
        converted(graph)


def test_a_zero_point_is_refused() -> None:
    graph = teacher_graph()
    by_name(graph)["onnx::MatMul_3_zero_point"].int32_data[2] = 1
    with pytest.raises(WeightsError, match="expected zero points of zero"):
        converted(graph)


@pytest.mark.parametrize("wrong", [np.zeros((24, 24), np.float32), np.zeros((24, 23), np.int8), np.zeros(24, np.int8)])
def test_a_matrix_of_another_form_is_refused(wrong: NDArray[Any]) -> None:
    graph = teacher_graph()
    by_name(graph)["onnx::MatMul_1_quantized"].CopyFrom(numpy_helper.from_array(wrong, "onnx::MatMul_1_quantized"))
    with pytest.raises(WeightsError, match=r"onnx::MatMul_1_quantized: expected int8 \(in, out\)"):
        converted(graph)
