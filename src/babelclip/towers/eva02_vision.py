"""The image tower EVA02 (Fang et al. 2023): a vision transformer with rotary positions, SwiGLU and sub-LN.

Reads top to bottom: patches, pre-norm blocks, final norm, CLS. Source of every detail:
docs/reference/published-model.md#image-tower; sizes in ``Eva02VisionConfig``. Letters as in ``babelclip.arrays``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from babelclip.towers.config import Eva02VisionConfig
from babelclip.towers.patches import make_patches
from babelclip.towers.rotary import rotate_vision, vision_rotary_table
from babelclip.towers.vision import VisionTower


class Eva02Attention(nn.Module):
    """Self-attention. Only patches rotate, CLS has no place; keys have no bias; a norm stands before the output."""

    def __init__(self, config: Eva02VisionConfig) -> None:
        super().__init__()
        width = config.width
        self.num_heads = config.num_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.inner_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *, cls_only: bool = False) -> Tensor:
        """(B, 1+P, D), two (P, K) -> (B, 1+P, D), or what CLS alone takes from all tokens, (B, 1, D)."""
        query = self._heads(F.linear(x[:, :1] if cls_only else x, self.query.weight, self.query_bias))
        key = self._heads(F.linear(x, self.key.weight))
        value = self._heads(F.linear(x, self.value.weight, self.value_bias))
        query, key = query if cls_only else self._rotate(query, cos, sin), self._rotate(key, cos, sin)
        if cls_only:
            mixed = F.scaled_dot_product_attention(query, key, value)  # B N 1 K
        else:
            query = query * query.shape[-1] ** -0.5  # scaled before the product, as published, to the last bit
            mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)  # B N 1+P K
        return self.out(self.inner_norm(mixed.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, 1+P, D) -> (B, N, 1+P, K)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    @staticmethod
    def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return torch.cat((x[:, :, :1], rotate_vision(x[:, :, 1:], cos, sin)), dim=2)


class SwiGLU(nn.Module):
    """Gated feed-forward (Shazeer 2020) with a norm before the way down."""

    def __init__(self, config: Eva02VisionConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden)
        self.up = nn.Linear(config.width, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1+P, D) -> (B, 1+P, D)."""
        return self.down(self.norm(F.silu(self.gate(x)) * self.up(x)))


class Eva02Block(nn.Module):
    """Attention and feed-forward, each added to its input, the norm inside (pre-norm)."""

    def __init__(self, config: Eva02VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = Eva02Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.feed_forward = SwiGLU(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *, cls_only: bool = False) -> Tensor:
        """(B, 1+P, D) -> (B, 1+P, D), or CLS alone, (B, 1, D)."""
        mixed = self.attention(self.norm1(x), cos, sin, cls_only=cls_only)
        x = (x[:, :1] if cls_only else x) + mixed
        return x + self.feed_forward(self.norm2(x))


class Eva02VisionTower(VisionTower):
    """Pixels to one vector per image."""

    config: Eva02VisionConfig
    rotary_cos: Tensor  # P K
    rotary_sin: Tensor  # P K

    def __init__(self, config: Eva02VisionConfig) -> None:
        super().__init__(config, make_patches(config.patches, config.width))
        self.blocks = nn.ModuleList(Eva02Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        # The table is no weight: a tower that is built without memory (meta device) has it too.
        with torch.device("cpu"):
            cos, sin = vision_rotary_table(config.grid, config.pretrained_grid, config.head_width)
        self.register_buffer("rotary_cos", cos, persistent=False)
        self.register_buffer("rotary_sin", sin, persistent=False)

    def encode_tokens(self, tokens: Tensor, positions: Tensor | None = None, *, cls_only: bool = False) -> Tensor:
        """As ``VisionTower.encode_tokens``; training may ask for CLS alone, published vectors are as published."""
        x, cos, sin = self.with_cls(tokens, positions), self.rotary_cos, self.rotary_sin
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        *first, last = self.blocks
        for block in first:
            x = block(x, cos, sin)
        x = last(x, cos, sin, cls_only=cls_only)
        return self.norm(x[:, 0])  # the norm works on each token alone, so only CLS is normed
