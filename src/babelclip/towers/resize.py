"""An image tower for another image size.

A file of its own, because a tower that runs never needs it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from babelclip.towers.config import VisionTowerConfig
from babelclip.towers.dual import make_vision
from babelclip.towers.vision import VisionTower


@torch.no_grad()
def resize_tower(tower: VisionTower, image_size: int) -> VisionTower:
    """The same weights for images of another side.

    Learned positions are resized as an image would be (bicubic; Dosovitskiy et al. 2021), that of CLS stays. Rotary
    positions have no weights: the new tower's table is made for its own grid, interpolated onto the pretrained one.
    """
    config = replace(tower.config, image_size=image_size)
    resized = make_vision(config).to(tower.cls_token.dtype)
    state = tower.state_dict()
    state["position_embedding"] = resize_positions(state["position_embedding"], tower.config, config)
    resized.load_state_dict(state, strict=True)
    return resized.train(tower.training)


def resize_positions(positions: Tensor, before: VisionTowerConfig, after: VisionTowerConfig) -> Tensor:
    """(1, 1 + G * G, D) -> (1, 1 + G' * G', D)."""
    if before.grid == after.grid:
        return positions
    grid = positions[:, 1:].unflatten(1, (before.grid, before.grid)).permute(0, 3, 1, 2)  # 1 D G G
    size = (after.grid, after.grid)
    other = F.interpolate(grid.float(), size=size, mode="bicubic", align_corners=False, antialias=True)
    patches = other.to(positions.dtype).flatten(2).transpose(1, 2)  # 1 G'*G' D
    return torch.cat((positions[:, :1], patches), dim=1)
