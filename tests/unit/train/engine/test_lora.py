"""Low-rank updates: nothing changes at first, only they learn, and merged they are the model itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from babelclip.errors import ConfigError
from babelclip.towers.config import Eva02VisionConfig, LinearPatchesConfig
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.towers.start import start_vision
from babelclip.train.engine.lora import add_lora, merge_lora


def make_tower() -> Eva02VisionTower:
    config = Eva02VisionConfig(
        image_size=12, width=16, num_layers=2, head_width=8, hidden=20, patches=LinearPatchesConfig(size=4),
        pretrained_grid=3,
    )  # fmt: skip
    torch.manual_seed(0)
    tower = Eva02VisionTower(config)
    start_vision(tower, deviation=0.2)
    return tower


def test_lora_starts_at_the_model_learns_alone_and_merges_into_it() -> None:
    tower, pixels = make_tower(), torch.randn(3, 3, 12, 12)
    names, before = list(tower.state_dict()), tower(pixels).detach()
    frozen = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    trained = add_lora(tower, rank=2, alpha=4.0)
    # per block: query, key, value, out of 16 x 16; gate and up of 20 x 16, down of 16 x 20
    assert trained == 2 * 2 * (4 * (16 + 16) + 3 * (20 + 16))
    torch.testing.assert_close(tower(pixels), before)
    optimizer = torch.optim.SGD([p for p in tower.parameters() if p.requires_grad], lr=0.1)
    target = torch.randn(3, 16)
    for _ in range(3):
        (tower(pixels) * target).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    learned = tower(pixels).detach()
    assert not torch.allclose(learned, before, atol=1e-3)
    merge_lora(tower)
    assert set(tower.state_dict()) == set(names)
    torch.testing.assert_close(tower(pixels), learned, atol=1e-5, rtol=1e-5)
    changed = {name for name, tensor in tower.state_dict().items() if not torch.equal(tensor, frozen[name])}
    assert changed == {name for name in names if "blocks." in name and name.endswith("weight") and "norm" not in name}


def test_what_lora_cannot_do_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        add_lora(make_tower(), rank=0, alpha=1.0)
    with pytest.raises(ConfigError, match="no Linear"):
        add_lora(nn.LayerNorm(3), rank=1, alpha=1.0)
