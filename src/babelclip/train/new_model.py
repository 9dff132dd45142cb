"""A model folder with random weights, to train from nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import ModelFolder, write_folder
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import DualConfig, LinearPatchesConfig, TextTowerConfig, VisionTowerConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer, start_vision
from babelclip.train.contrast_recipe import NewModel


def new_model(plan: NewModel, tokenizer_file: Path, seed: int, out: Path) -> ModelFolder:
    """Write towers of the plan's sizes; the same weights for the same seed."""
    prepare = TextPrepareConfig(max_tokens=plan.text.max_tokens)
    text = TextTowerConfig(
        vocab_size=TextPreparer(tokenizer_file, prepare).vocab_size,
        width=plan.text.width,
        num_layers=plan.text.layers,
        num_heads=plan.text.heads,
        hidden=plan.text.hidden,
        embed_dim=plan.vision.width,
        rotary_base=10000.0,
        projection=True,
    )
    vision = VisionTowerConfig(
        image_size=plan.vision.image_size,
        width=plan.vision.width,
        num_layers=plan.vision.layers,
        head_width=plan.vision.head_width,
        hidden=plan.vision.hidden,
        patches=LinearPatchesConfig(size=plan.vision.patch),
        pretrained_grid=plan.vision.image_size // plan.vision.patch,
    )
    torch.manual_seed(seed)
    towers = DualEncoder(DualConfig(text=text, vision=vision, dims=plan.dims))
    start_transformer(towers.text)
    assert towers.vision is not None
    start_vision(towers.vision)
    return write_folder(
        out,
        name=plan.name,
        config=towers.config,
        text_prepare=prepare,
        image_prepare=ImagePrepareConfig(size=plan.vision.image_size, resize_mode="squash", alpha="white"),
        tensors=state_tensors(towers),
        tokenizer_file=tokenizer_file,
        card=CardFacts(license="apache-2.0", summary="Random weights: a start for training, of no other use."),
        overwrite=True,
    )
