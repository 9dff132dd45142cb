"""The dual encoder: two towers, one space, one learned temperature (Radford et al. 2021).

A file of its own, because either tower is read, exported and trained without the other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from babelclip.towers.clip_vision import ClipVisionTower
from babelclip.towers.config import ClipVisionConfig, DualConfig, VisionTowerConfig
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower

INITIAL_LOGIT_SCALE = 2.6592  # ln(1 / 0.07)


def make_vision(config: VisionTowerConfig) -> VisionTower:
    """An image tower of the kind that the configuration is of, its weights as they are before any training."""
    return ClipVisionTower(config) if isinstance(config, ClipVisionConfig) else Eva02VisionTower(config)


class DualEncoder(nn.Module):
    """Text and image tower; ``vision`` and ``logit_scale`` are None for text-only models."""

    def __init__(self, config: DualConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextTower(config.text)
        self.vision = None if config.vision is None else make_vision(config.vision)
        self.logit_scale = None if config.vision is None else nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def similarity(self, text_vectors: Tensor, image_vectors: Tensor) -> Tensor:
        """Scaled cosines of raw vectors: (Bt, E), (Bi, E) -> (Bt, Bi); its transpose reads image by text."""
        assert self.logit_scale is not None, "a text-only model has no logit scale"
        text = text_vectors / text_vectors.norm(dim=-1, keepdim=True)
        image = image_vectors / image_vectors.norm(dim=-1, keepdim=True)
        return text @ image.T * self.logit_scale.exp()
