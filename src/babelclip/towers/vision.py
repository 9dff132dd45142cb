"""What all image towers share: tokens of patches, CLS in front, learned positions, blocks.

The two kinds are ``babelclip.towers.eva02_vision`` and ``babelclip.towers.clip_vision``; which one a model has, its
configuration says. Letters as in ``babelclip.arrays``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.towers.config import VisionTowerConfig
from babelclip.towers.patches import ConvPatches, LinearPatches


class VisionTower(nn.Module):
    """Pixels to one vector per image; a kind of tower says what becomes of the tokens."""

    config: VisionTowerConfig
    patches: LinearPatches | ConvPatches
    blocks: nn.ModuleList

    def __init__(self, config: VisionTowerConfig, patches: LinearPatches | ConvPatches) -> None:
        super().__init__()
        self.config = config
        self.patches = patches
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position_embedding = nn.Parameter(torch.zeros(1, config.grid**2 + 1, config.width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw vectors, not normalized: (B, 3, S, S) -> (B, E)."""
        size = self.config.image_size
        if pixels.shape[-2] != size or pixels.shape[-1] != size:
            raise ConfigError(f"this image tower takes {size}x{size} pixels, got {tuple(pixels.shape)}")
        return self.encode_tokens(self.patches(pixels))

    def encode_tokens(self, tokens: Tensor, positions: Tensor | None = None, *, cls_only: bool = False) -> Tensor:
        """Everything after the patch embedding: (B, P, D) -> (B, E).

        Args:
            tokens: As ``patches`` gives them.
            positions: (P,) int64, where on the grid the tokens stand, for patch dropout and regions; None: all of it.
            cls_only: The last block computes CLS alone, since nothing else leaves it. Faster; equal within rounding.
        """
        raise NotImplementedError

    def before_blocks(self) -> list[nn.Parameter]:
        """Weights between the patches and the first block, which a stage freezes with the lowest blocks."""
        return [self.cls_token, self.position_embedding]

    def with_cls(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """CLS in front, and the learned positions added: (B, P, D) -> (B, 1+P, D)."""
        learned: Tensor = self.position_embedding
        if positions is not None:
            learned = torch.cat((learned[:, :1], learned[:, 1:][:, positions]), dim=1)
        cls = self.cls_token.expand(tokens.shape[0], -1, -1)
        return torch.cat((cls, tokens), dim=1) + learned
