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
from babelclip.train.start_from import procrustes, take_text_tower, turn_space
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
    texts = ["a dog on a beach", "zwei Kinder", "一只猫", "three red apples", "the sea at night", "a bus"]
    vectors = text_vectors(tower, tokenizer, texts, half_precision=False)
    expected = text_vectors(load_towers(model).text, tokenizer, texts, half_precision=False)
    assert np.array_equal(vectors.numpy(), expected.numpy())

    width = vectors.shape[1]
    rotation = torch.linalg.qr(torch.randn(width, width)).Q
    space = TargetSpace(torch.zeros(width), torch.eye(width))
    turned = turn_space(space, vectors @ rotation, texts, tower, tokenizer)
    assert float((turned(vectors @ rotation) * vectors).sum(dim=1).min()) > 0.99  # bfloat16 towers


def test_another_text_tower_is_an_error(tmp_path: Path) -> None:
    model = read_folder(bundled_folder())
    tower = TextTower(replace(model.config.text, num_layers=1))
    with pytest.raises(ConfigError, match="num_layers=1"):
        take_text_tower(model, tower, tmp_path)
