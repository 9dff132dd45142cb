"""Folders: read in every layout, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.folder import ModelFolder, quantized_tensors, read_folder, write_folder
from babelclip.checkpoint.weights import StoredTensor, read_float32, read_stored
from babelclip.errors import ConfigError, FolderError, WeightsError

GOLDENS = Path(__file__).parents[2] / "fixtures" / "goldens"
NAMES = ("v2_a", "v2_b", "v3_small")
CARD = CardFacts(license="apache-2.0", summary="Random weights.", languages=("en", "zh"), limits=("It knows nothing.",))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BABELCLIP_CACHE", str(tmp_path / "cache"))


def copy_golden(name: str, to: Path) -> Path:
    to.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(GOLDENS / name / file, to)
    return to


def stored_tensors(folder: ModelFolder) -> dict[str, StoredTensor]:
    return {name: read_stored(entry) for name, entry in folder.tensor_index().items()}


def write_golden(name: str, to: Path, **changes: Any) -> ModelFolder:
    folder = read_folder(GOLDENS / name)
    facts: dict[str, Any] = {
        "name": name,
        "config": folder.config,
        "text_prepare": folder.text_prepare,
        "image_prepare": folder.image_prepare,
        "tensors": stored_tensors(folder),
        "tokenizer_file": folder.tokenizer_file,
        "card": CARD,
    }
    return write_folder(to, **(facts | changes))


def same_bits(one: ModelFolder, other: ModelFolder) -> bool:
    first, second = stored_tensors(one), stored_tensors(other)
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and first[name].array.tobytes() == second[name].array.tobytes()
        for name in first
    )


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_reads_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    written = write_golden(name, tmp_path / "out")
    source = read_folder(GOLDENS / name)
    assert written.layout == "babelclip"
    assert (written.config, written.text_prepare) == (source.config, source.text_prepare)
    assert written.image_prepare == source.image_prepare
    assert same_bits(written, source)
    files = {"config.json", "preprocessing.json", "model.safetensors", "tokenizer.json", "README.md", "checksums.json"}
    assert {file.name for file in written.path.iterdir()} == files
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]  # nothing temporary is left
    assert load_file(written.path / "model.safetensors").keys() == written.tensor_index().keys()


def test_the_card_says_what_the_folder_knows(tmp_path: Path) -> None:
    card = (write_golden("v2_a", tmp_path / "out").path / "README.md").read_text()
    parameters = sum(tensor.array.size for tensor in stored_tensors(read_folder(GOLDENS / "v2_a")).values())
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f"{parameters:,}" in card
    for words in ("16, 32, 48, 64", "8,192 tokens", "56 x 56", "It knows nothing.", "- zh"):
        assert words in card


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"tensors": {}}, WeightsError, r"Missing \(138\)"),
        ({"tokenizer_file": Path("nowhere/tokenizer.json")}, FileNotFoundError, "nowhere"),
    ],
)
def test_a_writing_that_fails_leaves_nothing(tmp_path: Path, changes: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        write_golden("v2_a", tmp_path / "out", **changes)
    assert not [file for file in tmp_path.iterdir() if file.name != "cache"]


def test_a_writing_that_fails_leaves_the_old_model(tmp_path: Path) -> None:
    old = write_golden("v2_a", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        write_golden("v2_b", tmp_path / "out", overwrite=True, tokenizer_file=Path("nowhere"))
    assert read_folder(tmp_path / "out").config == old.config
    assert {file.name for file in tmp_path.iterdir()} <= {"out", "cache"}


def test_only_a_model_is_overwritten_and_only_when_asked(tmp_path: Path) -> None:
    write_golden("v2_a", tmp_path / "out")
    with pytest.raises(FolderError, match="overwrite=True"):
        write_golden("v2_b", tmp_path / "out")
    assert write_golden("v2_b", tmp_path / "out", overwrite=True).name == "v2_b"
    assert read_folder(tmp_path / "out").name == "v2_b"
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    for overwrite in (True, False):
        with pytest.raises(FolderError, match="no model folder"):
            write_golden("v2_a", tmp_path / "letters", overwrite=overwrite)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear"


def test_preprocessing_and_towers_must_agree(tmp_path: Path) -> None:
    folder = read_folder(GOLDENS / "v2_a")
    assert folder.image_prepare is not None
    for changes, says in (
        ({"image_prepare": replace(folder.image_prepare, size=64)}, "image size 64"),
        ({"image_prepare": None}, "image must be given"),
        ({"text_prepare": replace(folder.text_prepare, pad_id=3)}, "pad_id 3"),
        ({"text_prepare": replace(folder.text_prepare, adapters=())}, "adapters"),
        ({"text_prepare": replace(folder.text_prepare, always_adapter="x")}, "always_adapter 'x'"),
        ({"text_prepare": replace(folder.text_prepare, default_task="x")}, "default_task 'x'"),
    ):
        with pytest.raises(ConfigError, match=says):
            write_golden("v2_a", tmp_path / "out", **changes)


def test_int8_on_disk(tmp_path: Path) -> None:
    source = read_folder(GOLDENS / "v2_a")
    written = write_golden("v2_a", tmp_path / "out", tensors=quantized_tensors(stored_tensors(source)))
    index, original = written.tensor_index(), source.tensor_index()
    assert index["text.embeddings.word.weight"].dtype == "I8"
    assert index["text.embeddings.word.weight.scale"].shape == (1000,)
    assert index["vision.patches.projection.weight"].shape == (64, 3, 14, 14)
    for name in ("vision.position_embedding", "text.blocks.0.norm1.weight", "text.embeddings.word.lora_A"):
        assert index[name].dtype == "F32"
    for name in original:
        error = np.abs(read_float32(index, name) - read_float32(original, name))
        assert error.max(initial=0) <= np.abs(read_float32(original, name)).max(initial=0) / 254 + 1e-7, name


def test_int8_needs_its_scale(tmp_path: Path) -> None:
    tensors = quantized_tensors(stored_tensors(read_folder(GOLDENS / "v2_a")))
    del tensors["text.embeddings.word.weight.scale"]
    with pytest.raises(WeightsError, match=r"needs .scale of F32 \[1000\]"):
        write_golden("v2_a", tmp_path / "out", tensors=tensors)


# ---------------------------------------------------------------- reading


def test_a_folder_without_a_needed_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="there is no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(FolderError, match="is not a folder"):
        read_folder(GOLDENS / "v2_a" / "config.json")
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        folder = copy_golden("v2_a", tmp_path / file)
        (folder / file).unlink()
        with pytest.raises(FolderError, match=file):
            read_folder(folder)
    own = write_golden("v2_a", tmp_path / "own").path
    (own / "preprocessing.json").unlink()
    with pytest.raises(FolderError, match=r"preprocessing\.json"):
        read_folder(own)


def test_weights_of_another_kind_are_named(tmp_path: Path) -> None:
    folder = copy_golden("v2_a", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FolderError, match=r"pytorch_model\.bin, which babelclip does not read"):
        read_folder(folder)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_config_is_an_error(tmp_path: Path, text: str) -> None:
    folder = copy_golden("v2_a", tmp_path / "model")
    (folder / "config.json").write_text(text)
    with pytest.raises(FolderError, match=r"config\.json"):
        read_folder(folder)


def shard(folder: Path, parts: int = 3) -> dict[str, str]:
    """Split model.safetensors as the hub does; the map of names to files."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{i % parts + 1:05d}-of-{parts:05d}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in set(places.values()):
        save_file({name: tensors[name] for name, place in places.items() if place == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return places


def test_sharded_weights(tmp_path: Path) -> None:
    path = copy_golden("v2_b", tmp_path / "model")
    shard(path)
    folder = read_folder(path)
    assert len(folder.weight_files) == 3
    assert same_bits(folder, read_folder(GOLDENS / "v2_b"))
    folder.weight_files[1].unlink()
    with pytest.raises(WeightsError, match="model-00002-of-00003"):
        read_folder(path)


def test_an_index_may_not_point_out_of_the_folder(tmp_path: Path) -> None:
    path = copy_golden("v2_b", tmp_path / "model")
    places = shard(path)
    content = {"weight_map": places | {"logit_scale": "../elsewhere.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(FolderError, match="outside the folder"):
        read_folder(path)


def test_tensors_that_are_not_the_configurations(tmp_path: Path) -> None:
    path = copy_golden("v2_b", tmp_path / "model")
    tensors = load_file(path / "model.safetensors")
    tensors["stranger"] = tensors.pop("text_model.proj.weight")
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"Missing \(1\): text_model\.proj\.weight.*Left over \(1\): stranger"):
        read_folder(path).tensor_index()


def test_the_fingerprint_follows_configuration_and_weights_and_nothing_else(tmp_path: Path) -> None:
    path = copy_golden("v2_a", tmp_path / "model")
    first = read_folder(path).fingerprint()
    assert first == read_folder(GOLDENS / "v2_a").fingerprint() == read_folder(path).fingerprint()
    (path / "README.md").write_text("new")
    assert read_folder(path).fingerprint() == first
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)  # the same size; the remembered digest must not be used
    second = read_folder(path).fingerprint()
    assert second != first
    config = json.loads((path / "config.json").read_text())
    config["text_config"]["hf_model_config_kwargs"]["rotary_emb_base"] = 10000.0
    (path / "config.json").write_text(json.dumps(config))
    assert read_folder(path).fingerprint() not in (first, second)


def test_a_name_and_revision_may_be_given() -> None:
    folder = read_folder(GOLDENS / "v2_a", name="org/model", revision="abc")
    assert (folder.name, folder.revision) == ("org/model", "abc")
    assert read_folder(GOLDENS / "v2_a").name == "v2_a"
