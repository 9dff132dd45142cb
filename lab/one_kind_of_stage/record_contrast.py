"""The old trainer's contrastive stages, recorded; a part of ``record.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from babelclip.train.begin import image_prepare, planned_config
from babelclip.train.contrast_recipe import (
    ContrastRecipe,
    DataSource,
    NewModel,
    NewText,
    NewVision,
    StagePlan,
    TaskPlan,
    TowerPlan,
    open_tasks,
)
from babelclip.train.contrast_run import _parts, prepare_tower
from babelclip.train.contrast_stage import ContrastStage
from babelclip.train.data.collate import Collator, ContrastSettings
from babelclip.train.loop import Budget
from babelclip.train.optim import OptimSettings, layer_rates
from babelclip.train.tasks import TaskSettings, Temperature
from record_stage import STEPS, contrast_labels, record

import babelclip
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import read_folder
from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer, start_vision


def record_contrast(out: Path, contrast_data: Path, tokenizer: Path) -> None:
    """Every task of the old contrastive trainer alone, four at once, and the recipe ``finetune-lora``.

    Args:
        out: Where each stage gets a folder.
        contrast_data: Of the sample; relative, for the old trainer's views of images depend on their paths.
        tokenizer: Of the nano model.
    """
    images = TaskSettings(
        kind="image_text",
        batch=24,
        loss="info_nce",
        dims=(16, 32, 64),
        english_share=0.3,
        views=2,
        temperature=Temperature(start=14.3, learned=True),
    )
    pairs = TaskSettings(kind="text_pairs", batch=16, loss="info_nce", dims=(16, 32, 64))
    triplets = TaskSettings(kind="triplets", batch=12, loss="hard_negatives", negatives=3, directions="sum")
    scores = TaskSettings(kind="triplets", batch=12, loss="scores", negatives=3)
    scored = TaskSettings(kind="scored_pairs", batch=32, loss="cosent", dims=(16, 64), dim_weights=(1.0, 2.0))
    tasks = {
        "image_text_info_nce": [("captions", "photos", images)],
        "image_text_sigmoid": [
            ("captions", "photos", replace(images, loss="sigmoid", dims=(), temperature=Temperature(start=10.0)))
        ],
        "unified": [
            ("captions", "photos", replace(images, unified=True)),
            ("pairs", "pairs.jsonl", replace(pairs, unified=True)),
        ],
        "hard_negatives": [("triplets", "triplets.jsonl", triplets)],
        "scores": [("triplets", "triplets.jsonl", scores)],
        "cosent": [("scored", "scored.jsonl", scored)],
        "mixed": [
            ("captions", "photos", images),
            ("pairs", "pairs.jsonl", replace(pairs, weight=0.5)),
            ("triplets", "triplets.jsonl", replace(triplets, temperature=Temperature(start=20.0, learned=False))),
            ("scored", "scored.jsonl", replace(scored, weight=0.1)),
        ],
    }
    for name, planned in tasks.items():
        optim = OptimSettings(
            learning_rate=1e-3,
            weight_decay=0.05,
            warmup=0.2,
            average=0.99 if name in ("image_text_info_nce", "mixed") else 0.0,
        )
        decay = TowerPlan(layer_decay=0.8) if name == "mixed" else TowerPlan()
        plan = _plan(name, optim, planned, text=decay, image=decay, max_tokens=32, keep_patches=0.75)
        _record(plan, contrast_data, *_nano(tokenizer), out / f"contrast_{name}")
    lora = TowerPlan(train="lora", rank=8, alpha=16.0)
    optim = OptimSettings(learning_rate=3e-4, weight_decay=0.0, warmup=0.2, average=0.95)
    tuned = replace(images, batch=16, dims=(), views=2, temperature=Temperature(start=25.0))
    plan = _plan(
        "finetune_lora",
        optim,
        [("captions", "photos", tuned)],
        text=lora,
        image=lora,
        keep_features=2048,
        max_tokens=77,
    )
    bundled = read_folder(Path(babelclip.__file__).parent / "bundled" / "small")
    towers = load_towers(bundled, adapters="live")
    texts = TextPreparer(bundled.tokenizer_file, bundled.text_prepare)
    torch.manual_seed(0)
    folder = out / "contrast_finetune_lora"
    _record(plan, contrast_data, towers, texts, bundled.image_prepare, bundled.tokenizer_file, folder)


def _plan(name: str, optim: OptimSettings, tasks: Sequence[tuple[str, str, TaskSettings]], **more: Any) -> StagePlan:
    planned = tuple(TaskPlan(name=n, data=(DataSource(path=path),), settings=s) for n, path, s in tasks)
    return StagePlan(name=name, budget=Budget(steps=STEPS), optim=optim, tasks=planned, **more)


def _nano(tokenizer: Path) -> tuple[DualEncoder, TextPreparer, Any, Path]:
    """recipes/nano.toml's sizes, halved; as ``babelclip.train.begin`` starts it."""
    new = NewModel(
        name="nano",
        text=NewText(width=48, layers=2, heads=4, hidden=128, max_tokens=77),
        vision=NewVision(image_size=32, patch=8, width=64, layers=2, head_width=16, hidden=128),
        dims=(16, 32, 64),
    )
    unused = _plan(
        "x", OptimSettings(learning_rate=1.0), [("x", "x", TaskSettings(kind="text_pairs", batch=2, loss="info_nce"))]
    )
    recipe = ContrastRecipe(kind="contrast", stages=(unused,), model=new)
    torch.manual_seed(0)
    towers = DualEncoder(planned_config(recipe, tokenizer))
    start_transformer(towers.text)
    start_vision(towers.vision)
    return towers, TextPreparer(tokenizer, TextPrepareConfig(max_tokens=77)), image_prepare(recipe), tokenizer


def _record(
    plan: StagePlan, data: Path, towers: DualEncoder, texts: TextPreparer, prepare: Any, tokenizer: Path, folder: Path
) -> None:
    """As ``babelclip.train.contrast_run`` sets a stage up."""
    for name, part in _parts(plan, towers):
        prepare_tower(getattr(towers, name), part)
    tasks, _ = open_tasks(plan, data, 0.1)
    settings = ContrastSettings(
        max_tokens=min(plan.max_tokens, texts.config.max_tokens), keep_patches=plan.keep_patches, seed=0, threads=1
    )
    collator = Collator(tasks, towers.config, texts, ImagePreparer(prepare), settings)
    towers.logit_scale.requires_grad_(False)
    rates: dict[str, float] = {}
    for name, part in _parts(plan, towers):
        rates |= layer_rates(f"{name}.blocks", len(getattr(towers, name).blocks), part.layer_decay)
    stage = ContrastStage(plan.name, towers, tasks, collator, rates=rates, keep_features=plan.keep_features)
    meta = {
        "plan": asdict(plan),
        "collator": asdict(settings),
        "config": asdict(towers.config),
        "image_prepare": asdict(prepare),
        "text_prepare": asdict(texts.config),
        "features_at": "label.features.N stand for part N's crops" if plan.keep_features else None,
    }
    record(stage, plan.optim, folder, meta, {}, contrast_labels, tokenizer.read_text())
    assert not collator.failures, collator.failures
