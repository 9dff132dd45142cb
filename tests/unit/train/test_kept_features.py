"""Features of a frozen trunk, kept: the same as computed anew, computed once, and never more than asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.towers.config import ConvStage, ConvTrunkConfig, LinearPatchesConfig, VisionTowerConfig
from babelclip.towers.patches import ConvPatches
from babelclip.towers.vision import VisionTower
from babelclip.train.kept_features import KeptFeatures

SIZE = 8


def tower(*, trunk: bool = True) -> VisionTower:
    stage = ConvStage(kernel=3, stride=2, expansion=1, width=6, repeats=2)
    patches = ConvTrunkConfig(stem_width=4, stages=(stage,), head_width=10) if trunk else LinearPatchesConfig(size=4)
    torch.manual_seed(0)
    config = VisionTowerConfig(
        image_size=SIZE, width=16, num_layers=1, head_width=8, hidden=20, patches=patches, pretrained_grid=2
    )
    return VisionTower(config).requires_grad_(False)


class Seen:
    """Crops to pixels, counted."""

    def __init__(self) -> None:
        self.crops = 0

    def __call__(self, crops: Tensor) -> Tensor:
        self.crops += len(crops)
        return crops.permute(0, 3, 1, 2).float() / 255


def crops(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (number, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


def test_kept_features_are_those_of_the_trunk_and_computed_once() -> None:
    vision, seen, images = tower(), Seen(), crops(40)
    features = KeptFeatures(vision, seen, most=100)
    assert isinstance(vision.patches, ConvPatches)
    expected = vision.patches.trunk(Seen()(images))
    torch.testing.assert_close(features(images), expected, atol=2e-3, rtol=1e-3)
    assert seen.crops == 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert torch.equal(features(images[order]), features(images)[order])
    assert torch.equal(features(images[[3, 3, 7]]), features(images)[[3, 3, 7]])
    assert seen.crops == 40


def test_half_precision_around_it_is_no_obstacle() -> None:
    images, features = crops(5), KeptFeatures(tower(), Seen(), most=10)
    with torch.autocast("cpu", torch.bfloat16):
        halved = features(images)
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, KeptFeatures(tower(), Seen(), most=10)(images), atol=0.02, rtol=0.02)


def test_no_more_are_kept_than_asked_for_and_the_oldest_go_first() -> None:
    seen, images = Seen(), crops(6)
    features = KeptFeatures(tower(), seen, most=4)
    features(images[:4])
    features(images[:1])  # the first is now the newest
    features(images[4:5])  # and the second goes
    assert seen.crops == 5
    features(images[[0, 2, 3, 4]])
    assert seen.crops == 5
    features(images[1:2])
    assert seen.crops == 6
    assert len(features(images)) == 6  # more than can be kept is no error


def test_a_trunk_that_is_trained_or_absent_is_an_error() -> None:
    with pytest.raises(ConfigError, match="the trunk is trained"):
        KeptFeatures(tower().requires_grad_(True), Seen(), most=4)
    with pytest.raises(ConfigError, match="no convolutional trunk"):
        KeptFeatures(tower(trunk=False), Seen(), most=4)
