"""The output of a frozen convolutional trunk, computed once for every crop that comes again and kept in memory.

A trunk that no gradient reaches gives the same features for the same crop in every step. Where a task shows a fixed
number of views of each image (``TaskSettings.views``), crops come again, and a step then costs the blocks alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

import torch
from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.towers.patches import ConvPatches
from babelclip.towers.vision import VisionTower

PIECE = 32  # crops that go through the trunk at a time


class KeptFeatures:
    """Features of the ``most`` crops that were asked for last.

    Raises:
        ConfigError: the tower has no convolutional trunk, or trains it.
    """

    def __init__(self, tower: VisionTower, pixels: Callable[[Tensor], Tensor], most: int) -> None:
        """pixels: crops (B, S, S, 3) uint8 -> (B, 3, S, S)."""
        if not isinstance(tower.patches, ConvPatches):
            raise ConfigError(
                f"keep_features = {most}, but this image tower has no convolutional trunk to keep them of"
            )
        self._trunk = tower.patches.trunk
        if any(parameter.requires_grad for parameter in self._trunk.parameters()):
            raise ConfigError(
                f"keep_features = {most}, but the trunk is trained; use train = 'lora' for the image tower"
            )
        self._pixels, self._most = pixels, most
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, crops: Tensor) -> Tensor:
        """(B, S, S, 3) uint8 -> (B, head width, G, G), rounded to float16 whether kept before or not."""
        keys = [blake2b(crop.numpy(), digest_size=16).digest() for crop in crops]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: place for place, key in enumerate(keys) if key not in found}
        for start in range(0, len(new), PIECE):
            some = dict(list(new.items())[start : start + PIECE])
            found |= zip(some, self._compute(crops[list(some.values())]), strict=True)
        for key in found:
            self._kept[key] = found[key]
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        dtype = self._trunk.head.weight.dtype
        return torch.stack([found[key].to(dtype) for key in keys])  # autocast knows no stack of float16 on a CPU

    @torch.no_grad()
    def _compute(self, crops: Tensor) -> Tensor:
        pixels = self._pixels(crops).to(self._trunk.head.weight.dtype)
        features: Tensor = self._trunk(pixels)
        return features.to(torch.float16)
