"""Take the photos' mean out of some numbers of image vectors.

Image vectors lie in a narrow cone. Training over Matryoshka prefixes lets the cone's mean and a text cancel out at each
width that is trained, and only there: cut in between, what is left of the mean ranks texts by chance (lab/LOG.md,
2026-11-28). The mean is part of the last norm's bias, so it can be taken out of finished weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from babelclip.towers.vision import VisionTower
from babelclip.train.still_images import StillImages


@dataclass(frozen=True, kw_only=True, slots=True)
class CenteringSettings:
    """What the recipe says about it."""

    share: float = 0.0  # of the mean that is taken out
    start: int = 0  # first of the numbers; those before it keep theirs
    end: int | None = None  # the first behind them that keeps its own; without it, none does


@torch.no_grad()
def center_images(tower: VisionTower, images: StillImages, settings: CenteringSettings) -> None:
    """Move the last norm's bias by the mean of these images' vectors, as long as the tower gives them."""
    mean = images.vectors.mean(dim=0) * images.mean_length
    some = slice(settings.start, settings.end)
    tower.norm.bias[some] -= settings.share * mean[some]
