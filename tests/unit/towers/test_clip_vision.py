"""CLIP's image tower against the same network in NumPy, alone and in a batch, whole and resized."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.unit.towers.clip_in_numpy import image_vectors
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.towers.clip_vision import ClipVisionTower
from babelclip.towers.config import ClipVisionConfig, DualConfig, TextTowerConfig
from babelclip.towers.dual import DualEncoder, make_vision
from babelclip.towers.resize import resize_tower

CONFIG = ClipVisionConfig(
    image_size=30, patch_size=8, width=24, num_layers=3, num_heads=3, hidden=40, embed_dim=10
)  # 30: six pixels of each side fill no patch


@pytest.fixture
def tower() -> ClipVisionTower:
    """Weights that leave nothing near its neutral value: norms, biases and positions too."""
    torch.manual_seed(0)
    tower = make_vision(CONFIG)
    assert isinstance(tower, ClipVisionTower)
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.4)
    return tower.eval()


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(4, 3, 30, 30, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_the_network_is_clips(tower: ClipVisionTower, pixels: Tensor) -> None:
    weights = {name: tensor.double().numpy() for name, tensor in tower.state_dict().items()}
    expected = image_vectors(weights, pixels.double().numpy(), patch=8, heads=3)
    assert np.abs(expected).max() > 1, "the comparison below is absolute"
    np.testing.assert_allclose(tower(pixels).numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(tower.double()(pixels.double()).numpy(), expected, atol=1e-12)


def test_the_reference_sees_every_weight(tower: ClipVisionTower, pixels: Tensor) -> None:
    """Each weight, changed, changes the reference's vector: none is left out on both sides."""
    weights = {name: tensor.double().numpy().copy() for name, tensor in tower.state_dict().items()}
    one = pixels[:1].double().numpy()
    before = image_vectors(weights, one, patch=8, heads=3)
    for name, weight in weights.items():
        if name.endswith("qkv.bias"):
            weight[24:48] += 1.0  # a bias of keys alone moves every score of a query by the same
            assert np.allclose(image_vectors(weights, one, patch=8, heads=3), before)
            weight[24:48] -= 1.0
        weight += np.linspace(0.1, 0.5, weight.size).reshape(weight.shape)
        assert not np.allclose(image_vectors(weights, one, patch=8, heads=3), before, atol=1e-6), name
        weight -= np.linspace(0.1, 0.5, weight.size).reshape(weight.shape)


@torch.inference_mode()
def test_an_image_has_the_same_vector_in_any_batch(tower: ClipVisionTower, pixels: Tensor) -> None:
    together = tower(pixels)
    for row, image in enumerate(pixels):
        torch.testing.assert_close(tower(image[None])[0], together[row], rtol=1e-5, atol=1e-5)


def test_another_size_of_image_is_refused(tower: ClipVisionTower) -> None:
    with pytest.raises(ConfigError, match="takes 30x30 pixels"):
        tower(torch.zeros(1, 3, 32, 32))


@torch.inference_mode()
def test_resized_it_is_the_network_with_resized_positions(tower: ClipVisionTower) -> None:
    large = resize_tower(tower, 56)
    assert isinstance(large, ClipVisionTower)
    assert large.config == replace(CONFIG, image_size=56)
    assert large.position_embedding.shape == (1, 1 + 49, 24)
    weights = {name: tensor.double().numpy() for name, tensor in large.state_dict().items()}
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(2))
    expected = image_vectors(weights, pixels.double().numpy(), patch=8, heads=3)
    np.testing.assert_allclose(large(pixels).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_heads": 5}, "width 24 does not divide into 5 heads"),
        ({"num_heads": 0}, "into 0 heads"),
        ({"patch_size": 31}, "no patch of 31 pixels fits into an image of 30"),
        ({"patch_size": 0}, "no patch of 0 pixels"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(changed: dict[str, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(CONFIG, **changed)


def test_its_vectors_have_the_width_of_the_texts() -> None:
    text = TextTowerConfig(
        vocab_size=20, width=8, num_layers=1, num_heads=2, hidden=8, embed_dim=12, rotary_base=1e4, projection=True
    )
    with pytest.raises(ConfigError, match="text gives 12, vision 10"):
        DualConfig(text=text, vision=CONFIG, dims=(4, 12))
    model = DualEncoder(DualConfig(text=replace(text, embed_dim=10), vision=CONFIG, dims=(4, 10)))
    assert isinstance(model.vision, ClipVisionTower)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        tower = make_vision(ClipVisionConfig.vit_b_16())
    assert tower.position_embedding.shape == (1, 197, 768)
    assert sum(parameter.numel() for parameter in tower.parameters()) == 86_192_640
