"""Going on from a finished model: the right tower, and a space that lies where the tower puts its texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from babelclip.bundled.__init__ import bundled_folder
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import read_folder
from babelclip.errors import ConfigError
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.start_from import check_start, procrustes, take_image_tower, take_text_tower, turn_space
from babelclip.train.target_space import TargetSpace
from babelclip.train.text_vectors import text_vectors


def test_a_rotation_is_found_again() -> None:
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    vectors = torch.randn(100, 8)
    found = procrustes(vectors, vectors @ rotation + 0.01 * torch.randn(100, 8))
    torch.testing.assert_close(found, rotation, atol=0.02, rtol=0)
    torch.testing.assert_close(found @ found.T, torch.eye(8), atol=1e-5, rtol=0)


def test_the_bundled_text_tower_goes_on(tmp_path: Path) -> None:
    model = read_folder(bundled_folder())
    tower = TextTower(model.config.text)
    tokenizer = take_text_tower(model, tower, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == model.tokenizer_file.read_bytes()
    assert tokenizer is not None
    texts = ["a dog on a beach", "zwei Kinder", "一只猫", "three red apples", "the sea at night", "a bus"]
    vectors = text_vectors(tower, tokenizer, texts, half_precision=False)
    expected = text_vectors(load_towers(model).text, tokenizer, texts, half_precision=False)
    assert np.array_equal(vectors.numpy(), expected.numpy())

    width = vectors.shape[1]
    rotation = torch.linalg.qr(torch.randn(width, width)).Q
    space = TargetSpace(torch.zeros(width), torch.eye(width))
    turned = turn_space(space, vectors @ rotation, texts, model)
    assert float((turned(vectors @ rotation) * vectors).sum(dim=1).min()) > 0.99  # bfloat16 towers


def test_the_bundled_image_tower_goes_on() -> None:
    model = read_folder(bundled_folder())
    assert model.config.vision is not None
    tower = VisionTower(model.config.vision)
    assert take_image_tower(model, tower)
    expected = load_towers(model).vision
    assert expected is not None
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in tower.state_dict().items())


def test_a_tower_that_is_not_the_recipes_is_left_alone(tmp_path: Path) -> None:
    model = read_folder(bundled_folder())
    assert model.config.vision is not None
    text = TextTower(replace(model.config.text, num_layers=1))
    vision = VisionTower(replace(model.config.vision, num_layers=1))
    before = [tensor.clone() for tower in (text, vision) for tensor in tower.state_dict().values()]
    assert take_text_tower(model, text, tmp_path) is None
    assert not take_image_tower(model, vision)
    after = [tensor for tower in (text, vision) for tensor in tower.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert not list(tmp_path.iterdir())


def test_a_start_needs_one_tower_of_the_recipe_and_vectors_of_its_width() -> None:
    model = read_folder(bundled_folder())
    theirs = model.config
    assert theirs.vision is not None
    text, vision = replace(theirs.text, num_layers=1), replace(theirs.vision, num_layers=1)
    check_start(model, replace(theirs, text=text))
    check_start(model, replace(theirs, vision=vision))
    with pytest.raises(ConfigError, match=r"no tower.*num_layers=1"):
        check_start(model, replace(theirs, text=text, vision=vision))
    with pytest.raises(ConfigError, match="vectors of 384 numbers, the recipe's space has 64"):
        check_start(model, replace(theirs, text=replace(theirs.text, embed_dim=64), vision=None))
