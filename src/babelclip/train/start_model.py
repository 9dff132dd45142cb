"""The model folder that a run begins with: named, or built as the recipe says."""

from __future__ import annotations

from pathlib import Path

import torch

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.convert import merged_config, state_tensors
from babelclip.checkpoint.folder import ModelFolder, read_folder, write_folder
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import DualConfig, Eva02VisionConfig, LinearPatchesConfig, TextTowerConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.start import start_transformer, start_vision
from babelclip.train.engine.distributed import ONE_PROCESS, ProcessGroupInfo, wait
from babelclip.train.foreign_weights import eva02_tensors, xlm_roberta_tensors
from babelclip.train.recipe import Recipe

MAX_TOKENS = 8192  # of the published architecture


def start_model(
    recipe: Recipe,
    named: ModelFolder | None,
    bundled_tokenizer: Path,
    data: Path,
    out: Path,
    group: ProcessGroupInfo = ONE_PROCESS,
) -> ModelFolder:
    """What a run begins with: the model that ``--model`` named; else what the recipe names, or builds.

    What is built, the first process writes to ``out``, and all read it.

    Raises:
        ConfigError: Neither says anything.
        WeightsError: Another maker's file is not as expected.
    """
    if named is not None:
        return named
    if recipe.start:
        return read_folder(data / recipe.start)
    if group.is_first:
        _build(recipe, bundled_tokenizer, data, out)
    wait(group)
    return read_folder(out)


def _build(recipe: Recipe, bundled_tokenizer: Path, data: Path, out: Path) -> None:
    config, prepare = planned_config(recipe, bundled_tokenizer), image_prepare(recipe)
    torch.manual_seed(recipe.seed)  # before the towers: their patch embedding draws its own weights
    towers = DualEncoder(config)
    assert towers.vision is not None
    assert isinstance(config.vision, Eva02VisionConfig), "a recipe builds this kind"
    start_transformer(towers.text)
    start_vision(towers.vision)
    tokenizer = bundled_tokenizer
    if recipe.foreign_weights is not None:
        tokenizer = data / recipe.foreign_weights.tokenizer
        towers.text.load_state_dict(xlm_roberta_tensors(data / recipe.foreign_weights.text, config.text), strict=True)
        towers.vision.load_state_dict(eva02_tensors(data / recipe.foreign_weights.vision, config.vision), strict=True)
    write_folder(
        out,
        name=recipe.model.name if recipe.model is not None else "large",
        config=config,
        text_prepare=TextPrepareConfig(max_tokens=MAX_TOKENS if recipe.model is None else recipe.model.text.max_tokens),
        image_prepare=prepare,
        tensors=state_tensors(towers),
        tokenizer_file=tokenizer,
        card=CardFacts(license="other", summary="What a training run begins with: of no other use."),
        overwrite=True,
    )


def image_prepare(recipe: Recipe) -> ImagePrepareConfig:
    """As published for the published architecture; for small new ones what loses nothing of an image."""
    if recipe.model is None:
        return ImagePrepareConfig(size=Eva02VisionConfig.jina_clip_v2().image_size)
    return ImagePrepareConfig(size=recipe.model.vision.image_size, resize_mode="squash", alpha="white")


def planned_config(recipe: Recipe, bundled_tokenizer: Path) -> DualConfig:
    """The towers' sizes of a recipe that builds its model.

    Raises:
        ConfigError: It builds none.
    """
    if recipe.foreign_weights is not None:
        return merged_config(DualConfig.jina_clip_v2())
    plan = recipe.model
    if plan is None:
        raise ConfigError("this recipe trains a model on; say which with --model (bundled, a folder or org/name)")
    prepare = TextPrepareConfig(max_tokens=plan.text.max_tokens)
    text = TextTowerConfig(
        vocab_size=TextPreparer(bundled_tokenizer, prepare).vocab_size,
        width=plan.text.width,
        num_layers=plan.text.layers,
        num_heads=plan.text.heads,
        hidden=plan.text.hidden,
        embed_dim=plan.vision.width,
        rotary_base=10000.0,
        projection=True,
    )
    vision = Eva02VisionConfig(
        image_size=plan.vision.image_size,
        width=plan.vision.width,
        num_layers=plan.vision.layers,
        head_width=plan.vision.head_width,
        hidden=plan.vision.hidden,
        patches=LinearPatchesConfig(size=plan.vision.patch),
        pretrained_grid=plan.vision.image_size // plan.vision.patch,
    )
    return DualConfig(text=text, vision=vision, dims=plan.dims)
