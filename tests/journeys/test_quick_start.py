"""The release's quick start against our server: its model name, its fields, image URLs, another address and key.

The model has the published layout and width, and random weights: one layer a tower.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import babelclip
from babelclip.checkpoint.names import tensor_specs
from babelclip.checkpoint.published_config import read_clip_config

sys.path.insert(0, str(Path(__file__).parent))
from serving import COMMAND, image_host, server

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parents[1] / "fixtures" / "goldens" / "v2_a"
SUNSETS = ["غروب جميل على الشاطئ", "海滩上美丽的日落", "Un beau coucher de soleil sur la plage", "浜辺に沈む美しい夕日"]


def write_published(folder: Path) -> None:
    """A folder as the published model's is, 1,024 wide."""
    config = json.loads((GOLDEN / "config.json").read_text())
    config |= {"projection_dim": 1024, "matryoshka_dimensions": [32, 64, 128, 256, 512, 768, 1024]}
    config["text_config"]["embed_dim"] = 1024
    config["text_config"]["hf_model_config_kwargs"] |= {
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 1,
        "intermediate_size": 256,
    }
    config["vision_config"] |= {"embed_dim": 1024, "width": 1024, "head_width": 64, "layers": 1}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes((GOLDEN / "tokenizer.json").read_bytes())
    chance = torch.Generator().manual_seed(0)
    specs = tensor_specs(read_clip_config(config)[0], "jina_clip")
    tensors = {spec.published: 0.05 * torch.randn(spec.shape, generator=chance) for spec in specs}
    save_file(tensors, folder / "model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "jina-clip-v2"
    write_published(folder)
    done = subprocess.run([*COMMAND, "model", "export", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def beach(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An image host of one's own: its HOST:PORT, and the folder that it serves."""
    home = tmp_path_factory.mktemp("host")
    for name, color in (("beach1.jpg", "orange"), ("beach2.jpg", "navy")):
        Image.new("RGB", (720, 480), color).save(home / name)

    with image_host(home) as host:
        yield host, home


def test_the_quick_start_runs_but_for_address_and_key(folder: Path, beach: tuple[str, Path], tmp_path: Path) -> None:
    host, home = beach
    keys = str(tmp_path / "keys.db")
    made = subprocess.run(
        [*COMMAND, "keys", "create", "me", "--keys", keys], capture_output=True, text=True, check=True
    )
    pictures = [home / "beach1.jpg", home / "beach2.jpg"]
    body = {
        "model": "jina-clip-v2",
        "dimensions": 1024,
        "task": "retrieval.query",
        "normalized": True,
        "embedding_type": "float",
        "input": [
            *({"text": text} for text in SUNSETS),
            *({"image": f"http://{host}/{picture.name}"} for picture in pictures),
            {"image": base64.b64encode(pictures[0].read_bytes()).decode()},
        ],
    }
    with server("--model", str(folder), "--keys", keys, "--fetch-allow", host) as (_, client):
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {made.stdout.strip()}"}
        answer = client.post("/v1/embeddings", headers=headers, content=json.dumps(body))
        short = client.post("/v1/embeddings", headers=headers, content=json.dumps({**body, "dimensions": "768"}))
        listed = client.get("/v1/models", headers=headers).json()["data"]
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["model"] == "jina-clip-v2"
    assert [each["id"] for each in listed] == ["jina-clip-v2"]
    encoder = babelclip.load(folder, runtime="onnx")
    texts = encoder.encode_text(SUNSETS, task="retrieval.query")
    images = encoder.encode_image([*pictures, pictures[0]])
    found = np.array([each["embedding"] for each in content["data"]])
    assert found.shape == (7, 1024)
    assert np.allclose(found, np.concatenate([texts, images]), atol=1e-4)
    assert np.allclose(found[4], found[6], atol=1e-6)  # the same picture by URL and in base64
    tokens = sum(map(len, encoder.tokenize(SUNSETS, task="retrieval.query")))
    assert content["usage"] == {
        "total_tokens": tokens + 3 * 8000,  # 720 x 480 begins two tiles
        "prompt_tokens": tokens + 3 * 8000,
        "image_tokens": 3 * 8000,
    }
    cut = np.array([each["embedding"] for each in short.json()["data"]])
    wanted = found[:, :768] / np.linalg.norm(found[:, :768], axis=1, keepdims=True)
    assert np.allclose(cut, wanted, atol=1e-5)
