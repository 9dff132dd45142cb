"""The mean is taken out of the numbers that are asked for, and of no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from babelclip.towers.config import LinearPatchesConfig, VisionTowerConfig
from babelclip.towers.vision import VisionTower
from babelclip.train.centering import CenteringSettings, center_images
from babelclip.train.still_images import StillImages

TINY = VisionTowerConfig(
    image_size=8,
    width=16,
    num_layers=1,
    head_width=8,
    hidden=16,
    patches=LinearPatchesConfig(size=4),
    pretrained_grid=2,
)


def test_the_mean_goes_and_the_rest_stays() -> None:
    torch.manual_seed(0)
    tower = VisionTower(TINY).eval()
    tower.norm.bias.data.normal_(std=2.0)
    pixels = torch.randn(64, 3, 8, 8)
    before = tower(pixels).detach()
    still = StillImages(np.arange(64), F.normalize(before, dim=1), float(before.norm(dim=1).mean()))
    center_images(tower, still, CenteringSettings(share=0.75, start=4, end=12))
    moved = before - tower(pixels).detach()
    assert moved[:, :4].abs().max() == 0
    assert moved[:, 12:].abs().max() == 0
    assert moved.std(dim=0).max() < 1e-5, "every image is moved alike"
    assert moved[0, 4:12].numpy() == pytest.approx(0.75 * before.mean(dim=0)[4:12].numpy(), rel=0.1, abs=0.05)
    still_there = before - moved
    center_images(tower, still, CenteringSettings())
    assert torch.equal(tower(pixels).detach(), tower(pixels).detach())
    assert (tower(pixels).detach() - still_there).abs().max() < 1e-5
