"""The image tower of CLIP (Radford et al. 2021): a vision transformer with learned positions and quick GELU.

Reads top to bottom: patches, a norm, pre-norm blocks, the norm of CLS, a projection. Sizes in ``ClipVisionConfig``;
tests/unit/towers/clip_in_numpy.py is the same network written a second time. Letters as in ``babelclip.arrays``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from babelclip.towers.config import ClipVisionConfig
from babelclip.towers.patches import LinearPatches
from babelclip.towers.vision import VisionTower


def quick_gelu(x: Tensor) -> Tensor:
    """The approximation of GELU that CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


class ClipAttention(nn.Module):
    """Self-attention; query, key and value come from one Linear, laid out (3, N, K)."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, *, cls_only: bool = False) -> Tensor:
        """(B, 1+P, D) -> (B, 1+P, D), or what CLS alone takes from all tokens, (B, 1, D)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # B 1+P 3 N K
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # B N 1+P K each
        mixed = F.scaled_dot_product_attention(query[:, :, :1] if cls_only else query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class ClipFeedForward(nn.Module):
    """Linear, quick GELU, Linear."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1+P, D) -> (B, 1+P, D)."""
        return self.down(quick_gelu(self.up(x)))


class ClipBlock(nn.Module):
    """Attention and feed-forward, each added to its input, the norm inside (pre-norm)."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = ClipAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.feed_forward = ClipFeedForward(config)

    def forward(self, x: Tensor, *, cls_only: bool = False) -> Tensor:
        """(B, 1+P, D) -> (B, 1+P, D), or CLS alone, (B, 1, D)."""
        mixed = self.attention(self.norm1(x), cls_only=cls_only)
        x = (x[:, :1] if cls_only else x) + mixed
        return x + self.feed_forward(self.norm2(x))


class ClipVisionTower(VisionTower):
    """Pixels to one vector per image."""

    config: ClipVisionConfig

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__(config, LinearPatches(config.patches, config.width, bias=False))
        self.pre_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.blocks = nn.ModuleList(ClipBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.projection = nn.Linear(config.width, config.embed_dim, bias=False)

    def encode_tokens(self, tokens: Tensor, positions: Tensor | None = None, *, cls_only: bool = True) -> Tensor:
        """As ``VisionTower.encode_tokens``; no vector was published to the last bit, so CLS alone is the default."""
        x = self.pre_norm(self.with_cls(tokens, positions))
        *first, last = self.blocks
        for block in first:
            x = block(x)
        x = last(x, cls_only=cls_only)
        return self.projection(self.norm(x[:, 0]))  # the norm works on each token alone, so only CLS is normed

    def before_blocks(self) -> list[nn.Parameter]:
        return [*super().before_blocks(), *self.pre_norm.parameters()]
