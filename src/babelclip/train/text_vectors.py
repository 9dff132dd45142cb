"""Vectors of many texts from a text tower in memory, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.towers.text import TextTower
from babelclip.train.data.batches import tokenise


@torch.inference_mode()
def text_vectors(
    tower: TextTower,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    token_budget: int = 8192,
    half_precision: bool = True,
) -> Tensor:
    """Unit vectors of texts in their order: float32 (N, E)."""
    table = tokenise(tokenizer, texts)
    order = np.argsort(table.lengths, kind="stable")
    out = torch.zeros(len(texts), tower.config.embed_dim)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and table.lengths[order[stop]] * (stop + 1 - start) <= token_budget:
            stop += 1
        rows = order[start:stop]
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision):
            vectors = tower(torch.from_numpy(table.padded(rows)))
        out[torch.from_numpy(rows)] = F.normalize(vectors.float(), dim=1)
        start = stop
    return out
