"""The text tower: XLM-RoBERTa (Conneau et al. 2020) with rotary positions and mean pooling.

Reads top to bottom: embeddings, post-norm blocks, pooling. Source of every detail:
docs/reference/published-model.md#text-tower; sizes in ``TextTowerConfig``. Letters as in ``babelclip.arrays``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from babelclip.errors import ConfigError
from babelclip.towers.adapters import make_embedding, make_linear
from babelclip.towers.config import TextTowerConfig
from babelclip.towers.pool import mean_pool
from babelclip.towers.rotary import rotate_text, text_rotary_table

PADDING_BIAS = -10000.0  # added to the score of a padded key, as published


class TextEmbeddings(nn.Module):
    """Word plus token-type embedding, then LayerNorm. There is no position table: positions are rotary."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.word = make_embedding(config.vocab_size, config.width, config.adapters)
        self.token_type = make_embedding(config.num_token_types, config.width, config.adapters)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, token_ids: Tensor, adapters: Tensor | None) -> Tensor:
        """(B, T) -> (B, T, D). Every token is of type 0."""
        types = torch.zeros_like(token_ids)
        return self.norm(self.word(token_ids, adapters) + self.token_type(types, adapters))


class TextAttention(nn.Module):
    """Self-attention with rotary positions; query, key and value come from one Linear, laid out (3, N, K)."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = make_linear(config.width, 3 * config.width, config.adapters)
        self.out = make_linear(config.width, config.width, config.adapters)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], key_bias: Tensor, adapters: Tensor | None) -> Tensor:
        """(B, T, D), two (T, K/2), (B, 1, 1, T), (B,) -> (B, T, D)."""
        qkv = self.qkv(x, adapters).unflatten(-1, (3, self.num_heads, -1))  # B T 3 N K
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # B N T K each
        query, key = rotate_text(query, *rotary), rotate_text(key, *rotary)
        key = key * key.shape[-1] ** -0.5  # scaled before the product, as published, to the last bit
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_bias, scale=1.0)  # B N T K
        return self.out(mixed.transpose(1, 2).flatten(2), adapters)


class TextFeedForward(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.up = make_linear(config.width, config.hidden, config.adapters)
        self.down = make_linear(config.hidden, config.width, config.adapters)

    def forward(self, x: Tensor, adapters: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.down(F.gelu(self.up(x, adapters)), adapters)


class TextBlock(nn.Module):
    """Attention and feed-forward, each followed by the norm of its sum with the input (post-norm)."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.attention = TextAttention(config)
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.feed_forward = TextFeedForward(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], key_bias: Tensor, adapters: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.norm1(self.attention(x, rotary, key_bias, adapters) + x)
        return self.norm2(self.feed_forward(x, adapters) + x)


class TextTower(nn.Module):
    """Token ids to one vector per text."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.num_layers))
        self.pooler = make_linear(config.width, config.width, config.adapters) if config.pooler else None
        self.projection = nn.Linear(config.width, config.embed_dim, bias=False) if config.projection else None

    def forward(self, token_ids: Tensor, adapters: Tensor | None = None) -> Tensor:
        """Raw vectors, not normalized: (B, T) -> (B, E).

        Args:
            token_ids: int64, padded anywhere with the pad id.
            adapters: (B,) int64, -1 for the base weights; None for the base weights in every row.
        """
        pooled = mean_pool(self.token_vectors(token_ids, adapters), token_ids != self.config.pad_id)
        return pooled if self.projection is None else self.projection(pooled)

    def token_vectors(self, token_ids: Tensor, adapters: Tensor | None = None) -> Tensor:
        """One vector per token after the last block: (B, T) -> (B, T, D)."""
        for vectors in self.block_outputs(token_ids, adapters):
            last = vectors
        return last

    def block_outputs(self, token_ids: Tensor, adapters: Tensor | None = None) -> Iterator[Tensor]:
        """The tokens' vectors after each block in turn: (B, T) -> (B, T, D), several times."""
        if adapters is not None and self.config.adapters is None:
            raise ConfigError("this text tower has no adapters to choose from; pass adapters=None")
        x = self.embeddings(token_ids, adapters)
        head_width = self.config.width // self.config.num_heads
        rotary = text_rotary_table(token_ids.shape[1], head_width, self.config.rotary_base, token_ids.device)
        is_padding = (token_ids == self.config.pad_id).to(x.dtype)
        key_bias = (is_padding * PADDING_BIAS)[:, None, None, :]  # B 1 1 T
        for block in self.blocks:
            x = block(x, rotary, key_bias, adapters)
            yield x

    def first_token(self, token_vectors: Tensor, adapters: Tensor | None = None) -> Tensor:
        """tanh of the pooler over the first token, stored by jina-embeddings-v3: (B, T, D) -> (B, D)."""
        if self.pooler is None:
            raise ConfigError("this text tower has no pooler (TextTowerConfig.pooler is false)")
        return torch.tanh(self.pooler(token_vectors[:, :1], adapters)[:, 0])
