"""CLIP's image tower in the trainer: frozen it stays to the last bit, opened it learns, and what cannot be is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import babelclip
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import ModelFolder, read_folder
from babelclip.checkpoint.quantized import SCALE_SUFFIX
from babelclip.checkpoint.weights import read_stored
from babelclip.errors import ConfigError
from babelclip.towers.clip_vision import ClipVisionTower
from babelclip.train.estimate import stage_needs
from babelclip.train.post_steps.centering import CenteringSettings
from babelclip.train.post_steps.post_step import PostStepContext
from babelclip.train.recipe import Recipe, find_recipe, read_recipe
from babelclip.train.run import RunOptions, train
from babelclip.train.tower_plan import TowerPlan, prepare_tower

IMAGE_LINE = 'image = { train = "lora", rank = 8, alpha = 16.0 }'


@pytest.fixture
def model(exported_folder: Callable[[str], Path]) -> ModelFolder:
    return read_folder(exported_folder("small_clip"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["image,caption,language"]
    for number in range(24):
        color = np.random.default_rng(number).integers(0, 255, 3)
        Image.fromarray(np.full((20, 20, 3), color, np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,a square of color {number},en")
    (folder / "captions.csv").write_text("\n".join(lines))
    return folder


def recipe(tmp_path: Path, name: str = "finetune-lora", **changes: str) -> Recipe:
    text = find_recipe(name).read_text()
    small = {
        "steps = 120": "steps = 2",
        "steps = 300": "steps = 2",
        "batch = 64": "batch = 6",
        "batch = 256": "batch = 6",
    }
    for before, after in (small | changes).items():
        assert before in text or before in small, before
        text = text.replace(before, after)
    text = re.sub(r"learning_rate = [0-9.e-]+", "learning_rate = 0.05", text)  # two steps must show in int8
    (tmp_path / f"{name}.toml").write_text(text)
    return read_recipe(tmp_path / f"{name}.toml")


def stored(folder: ModelFolder) -> dict[str, bytes]:
    return {name: read_stored(entry).array.tobytes() for name, entry in folder.tensor_index().items()}


def test_a_frozen_tower_is_written_as_it_was(model: ModelFolder, photos: Path, tmp_path: Path) -> None:
    plan = recipe(tmp_path, **{IMAGE_LINE: 'image = { train = "frozen" }'})
    tuned = read_folder(train(plan, model, photos, tmp_path / "out", RunOptions()))
    assert tuned.config == model.config
    before, after = stored(model), stored(tuned)
    # Scales are found anew, from values that are multiples of them already: the last bit of a float may differ.
    differs = {name for name in before if before[name] != after[name] and not name.endswith(SCALE_SUFFIX)}
    assert differs
    assert not any(name.startswith("vision.") for name in differs)


@pytest.mark.parametrize("name", ["finetune-lora", "finetune-full"])
def test_an_open_tower_learns(model: ModelFolder, photos: Path, tmp_path: Path, name: str) -> None:
    tuned = read_folder(train(recipe(tmp_path, name), model, photos, tmp_path / "out", RunOptions()))
    before, after = load_towers(model).vision, load_towers(tuned).vision
    assert before is not None
    assert after is not None
    old = dict(before.named_parameters())
    moved = {key for key, value in after.named_parameters() if not torch.equal(value, old[key])}
    for learns in ("blocks.0.attention.qkv.weight", "blocks.1.feed_forward.down.weight", "projection.weight"):
        assert learns in moved
    vectors = babelclip.load(tuned.path, runtime="torch").encode_image([photos / "0.png"])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    "plan", [TowerPlan(), TowerPlan(train="lora"), TowerPlan(train="frozen")], ids=lambda p: p.train
)
def test_a_dry_run_counts_it_rightly(model: ModelFolder, tmp_path: Path, plan: TowerPlan) -> None:
    stage = replace(recipe(tmp_path).stages[0], image=plan)
    needs, tower = stage_needs(stage, model.config).towers["vision"], load_towers(model).vision
    assert tower is not None
    assert prepare_tower(tower, plan) == needs.trained
    assert sum(parameter.numel() for parameter in tower.parameters()) == needs.parameters
    assert needs.tokens == needs.rows * (1 + 4 * 4)


def test_what_lies_below_frozen_blocks_is_frozen(model: ModelFolder) -> None:
    tower = load_towers(model).vision
    assert isinstance(tower, ClipVisionTower)
    prepare_tower(tower, TowerPlan(frozen_blocks=1))
    learns = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert learns == {
        name for name, _ in tower.named_parameters() if name.startswith(("blocks.1.", "norm.", "projection."))
    }


def test_its_mean_cannot_be_taken_out_of_a_bias(model: ModelFolder) -> None:
    class Towers:
        vision = load_towers(model).vision

    context = PostStepContext(None, Towers(), None, 0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="projection without a bias"):
        CenteringSettings(kind="centering", images=("photos",))(context)
