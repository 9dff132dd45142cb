"""Another image size: learned positions resized as an image, rotary ones made for the new grid."""

from __future__ import annotations

import torch

from babelclip.towers.config import Eva02VisionConfig, LinearPatchesConfig
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.towers.resize import resize_tower
from babelclip.towers.rotary import vision_rotary_table
from babelclip.towers.start import start_vision


def make_tower(size: int = 24) -> Eva02VisionTower:
    config = Eva02VisionConfig(
        image_size=size, width=16, num_layers=1, head_width=8, hidden=20, patches=LinearPatchesConfig(size=4),
        pretrained_grid=4,
    )  # fmt: skip
    torch.manual_seed(0)
    tower = Eva02VisionTower(config)
    start_vision(tower, deviation=0.2)
    return tower.eval()


def test_the_same_size_is_the_same_tower() -> None:
    tower, pixels = make_tower(), torch.randn(2, 3, 24, 24)
    with torch.inference_mode():
        assert torch.equal(resize_tower(tower, 24)(pixels), tower(pixels))


def test_positions_keep_their_place_in_the_image() -> None:
    tower = make_tower()
    with torch.no_grad():
        rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
        tower.position_embedding.zero_()
        tower.position_embedding[0, 0] = 7.0
        tower.position_embedding[0, 1:, 0] = ((rows + 0.5) / 6).flatten()  # how far down
        tower.position_embedding[0, 1:, 1] = ((columns + 0.5) / 6).flatten()  # how far right
    found = resize_tower(tower, 48).position_embedding[0]
    assert found.shape == (1 + 144, 16)
    assert torch.equal(found[0], torch.full((16,), 7.0))
    down = found[1:, 0].reshape(12, 12)
    expected = ((torch.arange(12) + 0.5) / 12)[:, None].expand(12, 12)
    torch.testing.assert_close(down[2:-2], expected[2:-2], atol=1e-2, rtol=0)  # edges bend: nothing lies beyond them
    torch.testing.assert_close(found[1:, 1].reshape(12, 12).T, down, atol=1e-5, rtol=0)
    assert (found[1:, 2:].abs() < 1e-6).all()


def test_rotary_positions_are_those_of_the_new_grid_and_weights_stay() -> None:
    tower = make_tower()
    resized = resize_tower(tower, 48)
    cos, sin = vision_rotary_table(12, 4, 8)
    assert torch.equal(resized.rotary_cos, cos)
    assert torch.equal(resized.rotary_sin, sin)
    for name, tensor in tower.state_dict().items():
        assert name == "position_embedding" or torch.equal(resized.state_dict()[name], tensor)
