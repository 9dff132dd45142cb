"""LoRA adapters (Hu et al. 2021) that choose their task row by row.

A layer with adapters holds the base weight and, for each of M tasks, a low-rank pair. It computes the base path plus
the low-rank path of the row's own task, so one batch may mix tasks and rows without any (index -1). Where one adapter
is always on, the pair is merged into the weight when the model is loaded and the tower has plain layers instead.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from babelclip.towers.config import AdapterConfig


def _pick(stack: Tensor, adapters: Tensor) -> Tensor:
    """The matrix of each row's task, zero where the row has none: (M, r, c), (B,) -> (B, r, c)."""
    has_adapter = (adapters >= 0).to(stack.dtype)
    return stack[adapters.clamp(min=0)] * has_adapter[:, None, None]


class AdaptedLinear(nn.Linear):
    """Linear layer plus low-rank paths. lora_A: (M, r, in), lora_B: (M, out, r); B starts at zero."""

    def __init__(self, in_features: int, out_features: int, adapters: AdapterConfig) -> None:
        super().__init__(in_features, out_features)
        num_tasks = len(adapters.tasks)
        self.scaling = adapters.scaling
        self.lora_A = nn.Parameter(torch.empty(num_tasks, adapters.rank, in_features))
        self.lora_B = nn.Parameter(torch.zeros(num_tasks, out_features, adapters.rank))
        for task in range(num_tasks):
            nn.init.kaiming_uniform_(self.lora_A[task], a=math.sqrt(5))

    def forward(self, x: Tensor, adapters: Tensor | None = None) -> Tensor:
        """(B, T, in), (B,) -> (B, T, out)."""
        base = F.linear(x, self.weight, self.bias)
        if adapters is None:
            return base
        down = x @ _pick(self.lora_A, adapters).transpose(1, 2)  # B T r
        return base + (down @ self.lora_B[adapters.clamp(min=0)].transpose(1, 2)) * self.scaling


class AdaptedEmbedding(nn.Embedding):
    """Embedding plus low-rank paths. lora_A: (M, num, r) starts at zero, lora_B: (M, r, dim)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, adapters: AdapterConfig) -> None:
        super().__init__(num_embeddings, embedding_dim)
        num_tasks = len(adapters.tasks)
        self.scaling = adapters.scaling
        self.lora_A = nn.Parameter(torch.zeros(num_tasks, num_embeddings, adapters.rank))
        self.lora_B = nn.Parameter(torch.randn(num_tasks, adapters.rank, embedding_dim))

    def forward(self, ids: Tensor, adapters: Tensor | None = None) -> Tensor:
        """(B, T), (B,) -> (B, T, dim). Only the rows in use are computed, never the whole table."""
        base = F.embedding(ids, self.weight)
        if adapters is None:
            return base
        # one gather from the flattened (M * num, r) table: row = task * num + id
        flat_rows = adapters.clamp(min=0)[:, None] * self.num_embeddings + ids  # B T
        down = F.embedding(flat_rows, self.lora_A.flatten(0, 1))  # B T r
        return base + (down @ _pick(self.lora_B, adapters)) * self.scaling


class PlainLinear(nn.Linear):
    """Linear layer with the call of an adapted one; it has no adapters to choose from."""

    def forward(self, x: Tensor, adapters: Tensor | None = None) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class PlainEmbedding(nn.Embedding):
    """Embedding with the call of an adapted one; it has no adapters to choose from."""

    def forward(self, ids: Tensor, adapters: Tensor | None = None) -> Tensor:
        return F.embedding(ids, self.weight)


def make_linear(in_features: int, out_features: int, adapters: AdapterConfig | None) -> PlainLinear | AdaptedLinear:
    if adapters is None:
        return PlainLinear(in_features, out_features)
    return AdaptedLinear(in_features, out_features, adapters)


def make_embedding(num: int, dim: int, adapters: AdapterConfig | None) -> PlainEmbedding | AdaptedEmbedding:
    if adapters is None:
        return PlainEmbedding(num, dim)
    return AdaptedEmbedding(num, dim, adapters)
