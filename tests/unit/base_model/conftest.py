"""A teacher of our own: a small network in the form of the real one's package, with its graph and its known vectors."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.unit.towers.clip_in_numpy import image_vectors

from babelclip.base_model.compose import TURN_FILE, write_base
from babelclip.base_model.image_weights import image_tensors
from babelclip.base_model.package import PinnedPackage
from babelclip.base_model.teacher_tower import CLIP_VIT_B_16, KnownVectors, TeacherTower
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import ModelFolder, write_folder
from babelclip.checkpoint.onnx_weights import read_onnx_weights
from babelclip.checkpoint.weights import write_safetensors
from babelclip.decode import encode
from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.runtime.check_vector import check_image_batch
from babelclip.runtime.export import export_model
from babelclip.runtime.exported import read_graph_manifest
from babelclip.towers.config import ClipVisionConfig, DualConfig, TextTowerConfig
from babelclip.towers.dual import DualEncoder

CONFIG = ClipVisionConfig(
    image_size=32, patch_size=16, width=24, num_layers=2, num_heads=3, hidden=40, embed_dim=16
)  # as the real one has them, the last three sizes differ from each other
MEMBER = "made_up/models/encoder.onnx"
TOKENIZER = Path(__file__).parents[2] / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"
WEIGHTS_ORDER = ("self_attn/q_proj", "self_attn/k_proj", "self_attn/v_proj", "self_attn/out_proj", "mlp/fc1", "mlp/fc2")


def teacher_graph(config: ClipVisionConfig = CONFIG, seed: int = 0) -> onnx.ModelProto:
    """The real graph's names and forms: matrices (in, out) in int8, scales as listed floats, zero points as ints."""
    random = np.random.default_rng(seed)
    width, tokens = config.width, config.grid**2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, config.patch_size, config.patch_size),
        "embeddings.position_embedding.weight": (tokens, width),
    }
    matrices: dict[str, tuple[int, int]] = {"/visual_projection": (width, config.embed_dim)}
    norms = ["pre_layrnorm", "post_layernorm"]
    for block in range(config.num_layers):
        layer = f"encoder.layers.{block}"
        norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
        for name in WEIGHTS_ORDER:
            size = {"mlp/fc1": (width, config.hidden), "mlp/fc2": (config.hidden, width)}.get(name, (width, width))
            matrices[f"/vision_model/encoder/layers.{block}/{name}"] = size
            shapes[f"{layer}.{name.replace('/', '.')}.bias"] = size[1:]
    shapes |= {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}
    initializers = [
        numpy_helper.from_array(random.normal(0, 0.5, shape).astype(np.float32), f"vision_model.{name}")
        for name, shape in shapes.items()
    ]
    nodes = []
    for number, (layer, size) in enumerate(matrices.items()):
        name = f"onnx::MatMul_{number}"
        values = random.integers(-127, 128, size).astype(np.int8)
        scales = random.uniform(0.001, 0.004, size[1]).astype(np.float32)
        initializers += [
            numpy_helper.from_array(values, f"{name}_quantized"),
            helper.make_tensor(f"{name}_scale", TensorProto.FLOAT, [size[1]], scales.tolist()),
            helper.make_tensor(f"{name}_zero_point", TensorProto.INT8, [size[1]], [0] * size[1]),
        ]
        inputs = [f"x{number}", f"{name}_quantized", f"z{number}", f"{name}_zero_point"]
        nodes.append(helper.make_node("MatMulInteger", inputs, [f"y{number}"], name=f"{layer}/MatMul_quant"))
    graph = helper.make_graph(nodes, "teacher", [], [], initializers)
    return helper.make_model(graph)


def in_floats(graph: onnx.ModelProto, config: ClipVisionConfig = CONFIG) -> dict[str, NDArray[np.float64]]:
    """The teacher's weights for the NumPy network, read by the ``onnx`` package and multiplied out here."""
    found = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in graph.graph.initializer}
    weights = {
        "cls_token": found["vision_model.embeddings.class_embedding"],
        "patches.projection.weight": found["vision_model.embeddings.patch_embedding.weight"],
        "position_embedding": found["vision_model.embeddings.position_embedding.weight"][None],
    }
    for ours, theirs in (("pre_norm", "pre_layrnorm"), ("norm", "post_layernorm")):
        weights |= {f"{ours}.{part}": found[f"vision_model.{theirs}.{part}"] for part in ("weight", "bias")}
    layers: dict[str, NDArray[np.float64]] = {}
    for node in graph.graph.node:
        if node.op_type == "MatMulInteger":
            values, scales = found[node.input[1]], found[node.input[1].replace("_quantized", "_scale")]
            layers[node.name.removesuffix("/MatMul_quant")] = (values * scales).T
    weights["projection.weight"] = layers["/visual_projection"]
    for block in range(config.num_layers):
        theirs = f"/vision_model/encoder/layers.{block}"
        own = {"attention.out": "self_attn/out_proj", "feed_forward.up": "mlp/fc1", "feed_forward.down": "mlp/fc2"}
        bias = f"vision_model.encoder.layers.{block}"
        for ours, name in own.items():
            weights[f"blocks.{block}.{ours}.weight"] = layers[f"{theirs}/{name}"]
            weights[f"blocks.{block}.{ours}.bias"] = found[f"{bias}.{name.replace('/', '.')}.bias"]
        heads = ("q", "k", "v")
        weights[f"blocks.{block}.attention.qkv.weight"] = np.concatenate(
            [layers[f"{theirs}/self_attn/{one}_proj"] for one in heads]
        )
        weights[f"blocks.{block}.attention.qkv.bias"] = np.concatenate(
            [found[f"{bias}.self_attn.{one}_proj.bias"] for one in heads]
        )
        for number in (1, 2):
            weights |= {
                f"blocks.{block}.norm{number}.{part}": found[f"{bias}.layer_norm{number}.{part}"]
                for part in ("weight", "bias")
            }
    return weights


def vectors_in_numpy(weights: Mapping[str, NDArray[np.float64]], pixels: NDArray[Any]) -> NDArray[np.float64]:
    return image_vectors(weights, pixels.astype(np.float64), patch=CONFIG.patch_size, heads=CONFIG.num_heads)


def make_wheel(folder: Path, content: bytes, name: str = "made_up", version: str = "1.0") -> Path:
    """A wheel that pip takes, with one file of content."""
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/models/encoder.onnx", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def text_folder(path: Path, embed_dim: int = 16, seed: int = 0) -> ModelFolder:
    """A text tower of random weights with a random turn beside it."""
    text = TextTowerConfig(
        vocab_size=1000, width=8, num_layers=1, num_heads=2, hidden=8, embed_dim=embed_dim, rotary_base=1e4,
        projection=True,
    )  # fmt: skip
    config = DualConfig(text=text, vision=None, dims=(4, embed_dim))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tensors = state_tensors(DualEncoder(config))
    folder = write_folder(
        path,
        name="texts",
        config=config,
        text_prepare=TextPrepareConfig(max_tokens=64),
        image_prepare=None,
        tensors=tensors,
        tokenizer_file=TOKENIZER,
        card=CardFacts(license="other", summary="Random weights for tests."),
        notice="What the text tower learned from.\n",
    )
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((embed_dim, embed_dim)))
    write_safetensors(path / TURN_FILE, {"turn": turn.astype(np.float16)})
    return folder


@pytest.fixture(scope="session")
def exported_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text tower with its graph. Read only."""
    folder = text_folder(tmp_path_factory.mktemp("texts") / "text", seed=3)
    export_model(folder)
    return folder.path


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> TeacherTower:
    """The source of a made-up image tower; its wheel lies beside its graph, in the folder ``index``. Read only."""
    folder = tmp_path_factory.mktemp("made-up")
    graph = teacher_graph()
    content = graph.SerializeToString()
    (folder / "index").mkdir()
    wheel = make_wheel(folder / "index", content)
    package = PinnedPackage(
        name="made_up",
        version="1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        member_bytes=len(content),
        megabytes=1,
    )
    source = replace(
        CLIP_VIT_B_16,
        package=package,
        config=CONFIG,
        prepare=replace(CLIP_VIT_B_16.prepare, size=CONFIG.image_size),
        graph=folder / "image.onnx",
        known=folder / "known_vectors.json",
    )
    image = image_tensors(read_onnx_weights(content, "teacher"), CONFIG, np.eye(CONFIG.embed_dim))
    base = write_base(folder / "base", text_folder(folder / "any-text"), image, source)
    export_model(base, ["image"], base.path)
    source.graph.write_bytes((base.path / "image.onnx").read_bytes())
    weights, prepare = in_floats(graph), ImagePreparer(source.prepare)
    photos = {name: prepare(source.photos / name) for name in ("cat.webp", "op-art.webp")}
    vectors = vectors_in_numpy(weights, np.stack(list(photos.values())))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = KnownVectors(
        photos={name: tuple(vector) for name, vector in zip(photos, vectors.tolist(), strict=True)},
        check=tuple(vectors_in_numpy(weights, check_image_batch(CONFIG.image_size).pixels)[0].tolist()),
        graph=read_graph_manifest(base.path)["image"],
    )
    source.known.write_text(json.dumps(encode(known)))
    return source
