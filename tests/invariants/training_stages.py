"""Tiny stages in float64 for the proofs of the engine: every objective, over data on disk, opened as a run does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import write_folder
from babelclip.decode import decode
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import (
    ConvStage,
    ConvTrunkConfig,
    DualConfig,
    Eva02VisionConfig,
    LinearPatchesConfig,
    TextTowerConfig,
)
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer, start_vision
from babelclip.train.data.sources import Sources
from babelclip.train.data.stored_vectors import write_stored_vectors
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.open_stage import Workshop, open_stage
from babelclip.train.recipe import Recipe
from babelclip.train.stage import Stage

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"
ROWS, NEGATIVES, WIDTH, CLASSES = 7, 2, 16, 5  # seven: two processes get shares of different size
WORDS = ["red", "blue", "green", "white", "black", "river", "bridge", "night", "house", "dog"]

DATA = {
    "photos": {"kind": "captioned_images", "path": "photos"},
    "rows": {"kind": "text_rows", "path": "rows.jsonl"},
    "texts": {"kind": "texts", "path": "texts.jsonl"},
    "teacher": {"kind": "vectors", "path": "teacher.npz"},
    "logits": {"kind": "vectors", "path": "logits.npz"},
    "names": {"kind": "class_names", "path": "names.json"},
}
VIEWS = {"augment": False}
WIDTHS = {"dims": [4, 8, WIDTH]}


def _contrast(*sources: str, **more: Any) -> dict[str, Any]:
    draws = [{"sources": {source: 1.0}, "batch": ROWS} for source in sources]
    return {"kind": "contrast", "name": "contrast", "draws": draws, "views": VIEWS, **more}


def _triplets(loss: str) -> dict[str, Any]:
    draws = {"sources": {"rows": 1.0}, "batch": ROWS}
    return {"kind": "triplets", "name": "triplets", "draws": draws, "negatives": NEGATIVES, "loss": loss}


SCORED = {"kind": "scored_pairs", "name": "scored", "draws": {"sources": {"rows": 1.0}, "batch": ROWS}}
TEXTS = {"sources": {"texts": 1.0}, "token_budget": 40}
IMAGES = {"sources": {"photos": 1.0}, "batch": ROWS}
DISTILL = {"kind": "distill_vectors", "name": "distill", "vectors": "teacher", "matryoshka": WIDTHS}
ANCHOR = {"kind": "anchor", "name": "anchor", "matryoshka": WIDTHS}
CLASS_NAMES = {"kind": "class_names", "name": "names", "names": "names", "logits": "logits", "dims": [8, WIDTH]}
TOKENS = {"kind": "distill_tokens", "name": "tokens", "texts": TEXTS, "teacher": "teacher", "layers": [0, 1]}
FROZEN = {"train": "frozen"}

STAGES: Mapping[str, dict[str, Any]] = {
    "info_nce": {"objectives": [_contrast("photos", matryoshka=WIDTHS, directions="sum")]},
    "sigmoid": {"objectives": [_contrast("photos", loss="sigmoid")]},
    "text pairs": {"objectives": [_contrast("rows")], "image": FROZEN},
    "unified": {"objectives": [_contrast("photos", "rows", matryoshka={**WIDTHS, "dim_weights": [1, 1, 2]})]},
    "extra texts": {"objectives": [_contrast("photos", extra_negatives=8)], "text": FROZEN},
    "extra images": {"objectives": [_contrast("photos", extra_negatives=8)], "image": FROZEN},
    "stored images": {
        "objectives": [_contrast("photos", image_vectors="teacher", extra_negatives=8)],
        "image": FROZEN,
    },
    "patch dropout": {"objectives": [_contrast("photos")], "inputs": {"keep_patches": 0.5}},
    "hard negatives": {"objectives": [_triplets("hard_negatives")], "image": FROZEN},
    "reranker's scores": {"objectives": [_triplets("scores")], "image": FROZEN},
    "scored pairs": {"objectives": [SCORED], "image": FROZEN},
    "distill texts": {"objectives": [{**DISTILL, "texts": TEXTS, "relational_weight": 0.5}], "image": FROZEN},
    "distill images": {"objectives": [{**DISTILL, "images": IMAGES, "views": VIEWS}], "text": FROZEN},
    "mean of captions": {
        "objectives": [_contrast("photos"), {**DISTILL, "vectors": "captions", "images_of": "contrast"}],
        "text": FROZEN,
    },
    "distill tokens": {"objectives": [TOKENS], "image": FROZEN},
    "class names": {"objectives": [{**CLASS_NAMES, "images": IMAGES, "views": VIEWS}], "text": FROZEN},
    "anchor of texts": {"objectives": [{**ANCHOR, "texts": TEXTS}, SCORED], "image": FROZEN},
    "anchor of images": {"objectives": [_contrast("photos"), {**ANCHOR, "images_of": "contrast"}], "text": FROZEN},
    "many, not all in every step": {
        "objectives": [
            {**SCORED, "every": 2, "weight": 0.3},
            _contrast("photos", matryoshka=WIDTHS),
            {**ANCHOR, "texts": TEXTS, "every": 3},
            {**_triplets("hard_negatives"), "weight": 0.5},
        ],
        "text": {"layer_decay": 0.8},
    },
    "features below a cut": {"objectives": [_contrast("photos")], "image": {"frozen_blocks": 1}},
    "features of a trunk": {
        "objectives": [_contrast("photos")],
        "image": {"frozen_blocks": 2},
        "inputs": {"keep_patches": 0.5},
    },
    "low rank": {
        "objectives": [_contrast("photos")],
        "text": {"train": "lora", "rank": 2, "checkpoint": True},
        "image": {"train": "lora", "rank": 2},
    },
    "a tower rests": {"objectives": [{**_contrast("photos"), "every": 2}, SCORED]},
}
"""What a recipe would say of a stage, without name, budget and optimizer."""
WITH_TRUNK = ("features below a cut", "features of a trunk")
"""The image tower of these stands on a convolutional trunk."""


def write_data(folder: Path) -> Path:
    """Ten little pictures with captions, and whatever else the objectives draw; also the folder of a text teacher."""
    generator = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    lines, names = [], [f"{number}.png" for number in range(len(WORDS))]
    for name, word in zip(names, WORDS, strict=True):
        pixels = generator.integers(256, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((20, 20), Image.Resampling.NEAREST).save(folder / "photos" / name)
        lines.append({"image": name, "captions": {"en": [f"a {word}", f"{word} again"], "de": [f"ein {word}"]}})
    _write_lines(folder / "photos" / "captions.jsonl", lines)
    pairs = [(a, b) for a in WORDS[:5] for b in WORDS if a != b]
    rows = [
        {
            "anchor": f"{a} {b}",
            "positive": f"{b} {a}",
            "negatives": [a, b],
            "score": round(float(generator.random()), 3),
            "scores": generator.normal(size=3).round(3).tolist(),
            "language": "en" if number % 2 else "de",
        }
        for number, (a, b) in enumerate(pairs)
    ]
    _write_lines(folder / "rows.jsonl", rows)
    texts = [f"{a} {b}"[: 3 + number % 9] for number, (a, b) in enumerate(pairs)]
    _write_lines(
        folder / "texts.jsonl",
        [{"text": text, "language": "en", "targets": [WORDS[number % 10]]} for number, text in enumerate(texts)],
    )
    ids = [*WORDS, *names]
    write_stored_vectors(folder / "teacher.npz", ids, generator.normal(size=(len(ids), WIDTH)).astype(np.float32))
    write_stored_vectors(folder / "logits.npz", names, generator.normal(size=(10, CLASSES)).astype(np.float16))
    (folder / "names.json").write_text(
        json.dumps({str(number): {"en": word, "fr": f"le {word}"} for number, word in enumerate(WORDS[:CLASSES])})
    )
    teacher = tiny_model(seed=1, vision=False)
    write_folder(
        folder / "teacher",
        name="teacher",
        config=teacher.config,
        text_prepare=TextPrepareConfig(max_tokens=77),
        image_prepare=None,
        tensors=state_tensors(teacher),
        tokenizer_file=TOKENIZER,
        card=CardFacts(license="other", summary="random"),
    )
    return folder


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(line) for line in lines))


TRUNK = ConvTrunkConfig(
    stem_width=4,
    stages=(ConvStage(kernel=3, stride=2, expansion=2, width=6, repeats=2),),
    head_width=10,
    classes=3,
)


def tiny_model(seed: int = 0, *, vision: bool = True, trunk: bool = False) -> DualEncoder:
    """Towers of two blocks with random weights; the image tower perhaps on a trunk of two blocks."""
    vocabulary = TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=77)).vocab_size
    text = TextTowerConfig(
        vocab_size=vocabulary, width=WIDTH, num_layers=2, num_heads=2, hidden=24, embed_dim=WIDTH, rotary_base=1e4
    )
    image = Eva02VisionConfig(
        image_size=12, width=WIDTH, num_layers=2, head_width=8, hidden=20, pretrained_grid=3,
        patches=TRUNK if trunk else LinearPatchesConfig(size=4),
    )  # fmt: skip
    torch.manual_seed(seed)
    model = DualEncoder(DualConfig(text=text, vision=image if vision else None, dims=(4, WIDTH)))
    start_transformer(model.text, deviation=0.2)
    if model.vision is not None:
        start_vision(model.vision, deviation=0.2)
    return model


def tiny_stage(name: str, data: Path, **options: Any) -> Stage:
    """One of ``STAGES``; options as of ``open_tiny``."""
    return open_tiny(STAGES[name], data, **{"model": tiny_model(trunk=name in WITH_TRUNK), **options})


def open_tiny(
    stage: Mapping[str, Any],
    data: Path,
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    group: ProcessGroupInfo | None = None,
    model: DualEncoder | None = None,
    image_prepare: ImagePrepareConfig | None = None,
    sources: Mapping[str, Any] | None = None,
    cache: Mapping[str, float] | None = None,
) -> Stage:
    """A stage as a recipe describes it, opened as a run opens it; the model is ``tiny_model`` where none is given."""
    plan = {"name": "stage", "budget": {"steps": 9}, "optimizer": {"learning_rate": 1e-2}, **stage}
    table = {"data": {**DATA, **(sources or {})}, "stages": [plan], "held_out": 0.0, "cache": cache or {}}
    recipe = replace(decode(Recipe, table, "tiny"), folder=data)
    towers = (model or tiny_model()).to(device=device, dtype=dtype)
    images = ImagePreparer(image_prepare or ImagePrepareConfig(size=12, resize_mode="squash"))
    workshop = Workshop(
        recipe,
        Sources(recipe.data, data, 0.0),
        data,
        data / "cache",
        TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=77)),
        None if towers.vision is None else images,
        torch.device(device),
        0 if group is None else group.rank,
    )
    return open_stage(recipe.stages[0], towers, workshop)
