"""What a graph holds, and that one which disagrees is not kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file, save_file

import babelclip
from babelclip.arrays import TextBatch
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.folder import read_folder, write_folder
from babelclip.checkpoint.weights import StoredTensor, read_float32, to_stored
from babelclip.errors import ConfigError, RuntimeUnavailable
from babelclip.runtime import export
from babelclip.runtime.choose import open_runtime
from babelclip.runtime.exported import MANIFEST, read_graph_manifest


def graph(path: Path) -> onnx.ModelProto:
    return onnx.load(str(path), load_external_data=False)


def inline_bytes(model: onnx.ModelProto) -> int:
    return sum(len(tensor.SerializeToString()) for tensor in model.graph.initializer if not tensor.external_data)


@pytest.mark.parametrize("name", ["v2_a", "v2_b", "v3_small", "small_int8", "small_int4", "small_clip"])
def test_graphs_hold_no_weights(name: str, exported_folder: Callable[[str], Path]) -> None:
    folder = read_folder(exported_folder(name))
    index, used = folder.tensor_index(), set()
    for path in folder.path.glob("*.onnx"):
        model = graph(path)
        onnx.checker.check_model(str(path))
        references = [tensor for tensor in model.graph.initializer if tensor.external_data]
        for tensor in references:
            place = {entry.key: entry.value for entry in tensor.external_data}
            entry = index[tensor.name]
            assert place["location"] == entry.file.name
            assert (int(place["offset"]), int(place["length"])) == (entry.offset, entry.nbytes)
            used.add(tensor.name)
        assert inline_bytes(model) < 100_000
        assert str(Path(export.__file__).parents[3]).encode() not in path.read_bytes()  # no paths of this machine
    unused = set(index) - used
    assert {name for name in unused if not name.startswith("text.pooler.")} <= {"logit_scale"}


def test_sizes_stay_open(exported_folder: Callable[[str], Path]) -> None:
    model = graph(exported_folder("v3_small") / "text.onnx")
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"token_ids": ["batch", "length"], "adapters": ["batch"], "vectors": ["batch", 64]}


def test_graph_beside_the_weights_opens_in_any_onnx_runtime(exported_folder: Callable[[str], Path]) -> None:
    """Without babelclip: no option, no file handed over."""
    folder = exported_folder("small_int8")
    session = onnxruntime.InferenceSession(str(folder / "text.onnx"), providers=["CPUExecutionProvider"])
    ids = np.array([[0, 7, 8, 2]])
    (vectors,) = session.run(None, {"token_ids": ids})
    expected = open_runtime(read_folder(folder), "onnx").run_text(TextBatch(ids, np.full(1, -1)))
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)


def test_int8_is_unfolded_once_and_tables_stay_small(exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    path = exported_folder("small_int8") / "text.onnx"
    onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    model = graph(tmp_path / "optimized.onnx")
    int8 = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    assert int8 == {"text.embeddings.word.weight", "text.embeddings.token_type.weight"}
    readers = {node.op_type for node in model.graph.node if int8 & set(node.input)}
    assert readers == {"Gather"}


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_floats_are_used_as_stored(dtype: str, exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    source = read_folder(exported_folder("tiny"))
    index = source.tensor_index()
    floats = {name: read_float32(index, name) for name in index}
    folder = write_folder(
        tmp_path / "half",
        name="half",
        config=source.config,
        text_prepare=source.text_prepare,
        image_prepare=source.image_prepare,
        tensors={name: half(array, dtype) for name, array in floats.items()},
        tokenizer_file=source.tokenizer_file,
        card=CardFacts(license="apache-2.0", summary="halves"),
    )
    assert {entry.dtype for entry in folder.tensor_index().values()} == {dtype}
    export.export_model(folder, ["text"])
    assert read_graph_manifest(folder.path)["text"].max_difference < 1e-5


def half(array: np.ndarray[Any, Any], dtype: str) -> StoredTensor:
    if dtype == "F16":
        return to_stored(array.astype(np.float16))
    return to_stored(torch.from_numpy(np.array(array)).bfloat16())


def test_sharded_weights(exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_folder("tiny"), tmp_path / "sharded"))
    for name in ("text.onnx", MANIFEST):
        (folder / name).unlink()
    tensors = load_file(folder / "model.safetensors")
    whole = babelclip.load(folder, runtime="torch").encode_text(["a", "the house"])
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    graph_folders = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": graph_folders}))
    encoder = babelclip.load(folder, runtime="onnx")
    np.testing.assert_allclose(encoder.encode_text(["a", "the house"]), whole, rtol=0, atol=1e-5)


def test_graph_that_disagrees_is_not_kept(
    exported_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(exported_folder("tiny"), tmp_path / "model"))
    for name in ("text.onnx", MANIFEST):
        (folder / name).unlink()
    write = export.write_graph

    def spoil(model: Any, path: Path) -> None:
        write(model, path)
        proto = graph(path)
        for node in proto.graph.node:
            if node.op_type == "LayerNormalization":
                for attribute in node.attribute:
                    if attribute.name == "epsilon":
                        attribute.f = 1e-2
        onnx.save(proto, str(path))

    monkeypatch.setattr(export, "write_graph", spoil)
    with pytest.raises(RuntimeUnavailable, match=r"does not agree with torch: difference .* It was not kept"):
        export.export_model(read_folder(folder))
    assert not (folder / "text.onnx").exists()


def test_a_tower_alone(exported_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = read_folder(exported_folder("small_int8"))
    made = export.export_model(folder, ["image"], tmp_path)
    assert [item.graph for item in made] == [tmp_path / "image.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["check-onnx.json", "image.onnx", MANIFEST]
    with pytest.raises(ConfigError, match="tiny has no image tower to export; it has text"):
        export.export_model(read_folder(exported_folder("tiny")), ["image"])
