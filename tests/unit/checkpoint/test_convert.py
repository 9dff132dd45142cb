"""Folder to towers: merged and live, every dtype on disk, and back into the published layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import (
    fill,
    load_towers,
    merge_adapter,
    merged_config,
    merged_prepare,
    merged_tensors,
    state_tensors,
)
from babelclip.checkpoint.folder import ModelFolder, quantized_tensors, read_folder, write_folder
from babelclip.checkpoint.weights import read_stored
from babelclip.checkpoint.write_published import write_published
from babelclip.errors import ConfigError, WeightsError
from babelclip.towers.config import AdapterConfig
from babelclip.towers.dual import DualEncoder

GOLDENS = Path(__file__).parents[2] / "fixtures" / "goldens"
NAMES = ("v2_a", "v2_b", "v3_small")


@pytest.fixture
def golden_in(tmp_path: Path) -> Callable[[str, torch.dtype], Path]:
    def make(name: str, dtype: torch.dtype) -> Path:
        path = tmp_path / f"{name}-{dtype}"
        shutil.copytree(GOLDENS / name, path, ignore=shutil.ignore_patterns("*puts.safetensors", "end_to_end.json"))
        tensors = load_file(path / "model.safetensors")
        cast = {key: value.to(dtype) for key, value in tensors.items()}
        save_file(cast, path / "model.safetensors", {"format": "pt"})
        config = json.loads((path / "config.json").read_text())
        config["torch_dtype"] = "bfloat16"  # as published, whatever is on disk
        (path / "config.json").write_text(json.dumps(config))
        return path

    return make


def text_vectors(model: DualEncoder, adapter: int | None) -> Tensor:
    ids = torch.tensor([[0, 9, 120, 7, 2, 1], [0, 44, 45, 46, 999, 2]])
    chosen = None if adapter is None else torch.full((2,), adapter)
    with torch.inference_mode():
        return model.text(ids, chosen)


def image_vectors(model: DualEncoder) -> Tensor:
    assert model.vision is not None
    size = model.vision.config.image_size
    with torch.inference_mode():
        return model.vision(torch.linspace(-2, 2, 2 * 3 * size * size).reshape(2, 3, size, size))


# ---------------------------------------------------------------- adapters


@pytest.mark.parametrize("name", ["v2_a", "v2_b"])
def test_merged_is_live_with_the_adapter_that_is_always_on(name: str) -> None:
    folder = read_folder(GOLDENS / name)
    merged, live = load_towers(folder), load_towers(folder, adapters="live")
    assert merged.config.text.adapters is None
    assert not [key for key in merged.state_dict() if "lora" in key]
    torch.testing.assert_close(text_vectors(merged, None), text_vectors(live, 0), atol=4e-6, rtol=0)
    assert (text_vectors(merged, None) - text_vectors(live, None)).abs().max() > 1e-3  # the test can tell
    assert torch.equal(image_vectors(merged), image_vectors(live))


def test_another_adapter_may_be_the_one_that_is_always_on() -> None:
    folder = read_folder(GOLDENS / "v2_b")
    other = replace(folder, text_prepare=replace(folder.text_prepare, always_adapter="retrieval.passage"))
    live = load_towers(folder, adapters="live")
    torch.testing.assert_close(text_vectors(load_towers(other), None), text_vectors(live, 1), atol=4e-6, rtol=0)


def test_v3_keeps_its_adapters_live_and_has_none_to_merge() -> None:
    folder = read_folder(GOLDENS / "v3_small")
    assert load_towers(folder).config.text.adapters is not None
    with pytest.raises(ConfigError, match="no adapter is always on"):
        load_towers(folder, adapters="merged")
    with pytest.raises(ConfigError, match="merged, live, auto"):
        load_towers(folder, adapters="none")  # type: ignore[arg-type]


@pytest.mark.parametrize("is_embedding", [False, True])
def test_a_merge_by_hand(is_embedding: bool) -> None:
    adapters = AdapterConfig(tasks=("a",), rank=2, alpha=3)
    weight, low, high = torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    pair = (high, low) if is_embedding else (low, high)
    total = merge_adapter(weight, *pair, adapters, is_embedding=is_embedding)
    assert total.tolist() == [[4.5] * 3, [10.5] * 3]  # (1 + 2) * 1.5, (3 + 4) * 1.5
    assert weight.abs().sum() == 0


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_on_disk_are_computed_in_float32(
    golden_in: Callable[[str, torch.dtype], Path], name: str, dtype: torch.dtype
) -> None:
    folder = read_folder(golden_in(name, dtype))
    model = load_towers(folder, adapters="live")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    for key, tensor in load_towers(read_folder(GOLDENS / name), adapters="live").state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor.to(dtype).float()), key


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_weights_in_their_own_dtype_stay_mapped(golden_in: Callable[[str, torch.dtype], Path]) -> None:
    folder = read_folder(golden_in("v3_small", torch.bfloat16))
    weight = load_towers(folder, dtype=torch.bfloat16).text.embeddings.word.weight
    assert weight.dtype == torch.bfloat16
    file = str(folder.path / "model.safetensors")
    places = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if file in line]
    assert any(int(first, 16) <= weight.data_ptr() < int(last, 16) for first, last in places)


def test_merging_sums_in_float32(golden_in: Callable[[str, torch.dtype], Path]) -> None:
    folder = read_folder(golden_in("v2_a", torch.float16))
    index = load_file(folder.path / "model.safetensors")
    name = "text_model.transformer.roberta.encoder.layers.0.mlp.fc1.parametrizations.weight."
    base, low, high = (index[name + part].float() for part in ("original", "0.lora_A", "0.lora_B"))
    weight = load_towers(folder).state_dict()["text.blocks.0.feed_forward.up.weight"]
    torch.testing.assert_close(weight, base + high[0] @ low[0], atol=1e-7, rtol=1e-6)


def test_int8_is_scaled_back(tmp_path: Path) -> None:
    folder = read_folder(GOLDENS / "v2_a")
    written = write_own(folder, tmp_path / "int8", int8=True)
    model, exact = load_towers(written), load_towers(folder)
    cosines = torch.cosine_similarity(text_vectors(model, None), text_vectors(exact, None))
    assert 0.99 < cosines.min() < 1.0
    assert torch.cosine_similarity(image_vectors(model), image_vectors(exact)).min() > 0.99


# ---------------------------------------------------------------- our own layout


def write_own(folder: ModelFolder, path: Path, *, int8: bool = False) -> ModelFolder:
    tensors = {name: read_stored(entry) for name, entry in folder.tensor_index().items()}
    return write_folder(
        path,
        name="again",
        config=folder.config,
        text_prepare=folder.text_prepare,
        image_prepare=folder.image_prepare,
        tensors=quantized_tensors(tensors) if int8 else tensors,
        tokenizer_file=folder.tokenizer_file,
        card=CardFacts(license="apache-2.0", summary="Random weights."),
    )


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_gives_the_same_vectors(tmp_path: Path, name: str) -> None:
    folder = read_folder(GOLDENS / name)
    before, after = load_towers(folder), load_towers(write_own(folder, tmp_path / "own"))
    adapter = None if before.config.text.adapters is None else 2
    assert torch.equal(text_vectors(before, adapter), text_vectors(after, adapter))
    assert before.vision is None or torch.equal(image_vectors(before), image_vectors(after))


def test_towers_built_in_memory_are_filled_and_emptied_by_the_same_names() -> None:
    folder = read_folder(GOLDENS / "v2_a")
    model, source = DualEncoder(folder.config), load_towers(folder, adapters="live")
    fill(model, state_tensors(source))
    assert torch.equal(text_vectors(model, 0), text_vectors(source, 0))
    tensors = state_tensors(source)
    tensors["stranger"] = tensors.pop("logit_scale")
    with pytest.raises(WeightsError, match=r"lack \['logit_scale'\].*left over \['stranger'\]"):
        fill(model, tensors)
    with pytest.raises(WeightsError, match=r"text\.embeddings\.norm\.bias is"):
        fill(model, state_tensors(source) | {"text.embeddings.norm.bias": torch.zeros(3)})


# ---------------------------------------------------------------- back into the published layout


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_published_to_ours_to_published_is_bit_for_bit(
    golden_in: Callable[[str, torch.dtype], Path], tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    source = golden_in(name, dtype)
    own = write_own(read_folder(source), tmp_path / "own")
    back = write_back(own, tmp_path / "back")
    first, second = load_file(source / "model.safetensors"), load_file(back.path / "model.safetensors")
    assert first.keys() == second.keys()
    for key in first:
        assert first[key].dtype == second[key].dtype == dtype
        assert torch.equal(first[key].reshape(-1).view(torch.uint8), second[key].reshape(-1).view(torch.uint8)), key
    original = read_folder(source)
    assert (back.layout, back.config, back.text_prepare) == (original.layout, original.config, original.text_prepare)
    assert json.loads((back.path / "config.json").read_text())["torch_dtype"] == str(dtype).removeprefix("torch.")


def write_back(folder: ModelFolder, path: Path, **changes: object) -> ModelFolder:
    facts = {
        "config": folder.config,
        "text_prepare": folder.text_prepare,
        "image_prepare": folder.image_prepare,
        "tensors": {name: read_stored(entry) for name, entry in folder.tensor_index().items()},
        "tokenizer_file": folder.tokenizer_file,
    }
    return write_published(path, **(facts | changes))  # type: ignore[arg-type]


def test_a_merged_model_gets_an_adapter_that_adds_nothing(tmp_path: Path) -> None:
    folder = read_folder(GOLDENS / "v2_b")
    merged = load_towers(folder)
    back = write_back(
        folder,
        tmp_path / "back",
        config=merged_config(folder.config),
        text_prepare=merged_prepare(folder.text_prepare),
        tensors=merged_tensors(folder),
    )
    assert back.config.text.adapters is not None
    assert torch.equal(text_vectors(load_towers(back), None), text_vectors(merged, None))
    assert torch.equal(text_vectors(load_towers(back, adapters="live"), 0), text_vectors(merged, None))


def test_the_written_configuration_inherits_nothing(tmp_path: Path) -> None:
    back = write_back(read_folder(GOLDENS / "v2_a"), tmp_path / "back")
    kwargs = json.loads((back.path / "config.json").read_text())["text_config"]["hf_model_config_kwargs"]
    assert kwargs["rotary_emb_base"] == 20000.0
    assert kwargs["layer_norm_eps"] == 1e-5
    assert kwargs["hidden_size"] == 64


def test_settings_that_the_published_layout_lacks_are_refused(tmp_path: Path) -> None:
    folder = read_folder(GOLDENS / "v2_a")
    assert folder.image_prepare is not None
    assert folder.config.vision is not None
    for changes, says in (
        ({"image_prepare": replace(folder.image_prepare, orientation="upright")}, "image preprocessing"),
        ({"text_prepare": replace(folder.text_prepare, strip=True)}, "text preprocessing"),
        ({"config": replace(folder.config, vision=replace(folder.config.vision, norm_eps=1e-5))}, "the model"),
    ):
        with pytest.raises(ConfigError, match=f"cannot express {says}"):
            write_back(folder, tmp_path / "back", **changes)
    assert not (tmp_path / "back").exists()


def test_int8_becomes_floats_in_the_published_layout(tmp_path: Path) -> None:
    own = write_own(read_folder(GOLDENS / "v2_a"), tmp_path / "int8", int8=True)
    back = write_back(own, tmp_path / "back")
    assert np.array_equal(text_vectors(load_towers(back), None), text_vectors(load_towers(own), None))


# ---------------------------------------------------------------- against the reference


@pytest.mark.parametrize("name", ["v2_a", "v2_b"])
def test_merged_towers_give_the_references_vectors(name: str) -> None:
    model = load_towers(read_folder(GOLDENS / name))
    inputs, outputs = (load_file(GOLDENS / name / f"{which}.safetensors") for which in ("inputs", "outputs"))
    assert model.vision is not None
    with torch.inference_mode():
        for case in ("padded", "odd_pads", "long600", "long_mixed", "single2"):
            vectors = model.text(inputs[f"text.{case}.input_ids"])
            torch.testing.assert_close(vectors, outputs[f"text.{case}.default.embed"], atol=4e-6, rtol=0)
        vectors = model.vision(inputs["image.pixel_values"])
    torch.testing.assert_close(vectors, outputs["image.embed"], atol=4e-6, rtol=0)
