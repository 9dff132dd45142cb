"""The sentence teacher's forward pass: multilingual-e5-small (BERT, post-norm, learned positions), mean pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.train.pretrained import SentenceTeacher

PREFIX = "query: "
"""E5's prefix for symmetric tasks (Wang et al. 2024)."""


def teacher_forward(teacher: SentenceTeacher, token_ids: Tensor, mask: Tensor) -> Tensor:
    """Token ids (B, T) int64 and mask (B, T) bool -> mean-pooled vectors (B, D), not normalised."""
    *_, last = teacher_states(teacher, token_ids, mask)
    weights = mask.unsqueeze(-1).float()
    return (last * weights).sum(dim=1) / weights.sum(dim=1)


def teacher_states(teacher: SentenceTeacher, token_ids: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """The tokens' vectors after each layer in turn: (B, T), (B, T) -> (B, T, D) float32."""
    w = teacher.tensors

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.w"].to(x.dtype), w[f"{name}.b"].to(x.dtype))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x.float(), (teacher.width,), w[f"{name}.w"], w[f"{name}.b"], teacher.norm_eps)

    batch, length = token_ids.shape
    x = norm(w["emb.word"][token_ids] + w["emb.pos"][:length] + w["emb.type"][0], "emb.ln")
    attend = mask[:, None, None, :]
    for layer in range(teacher.num_layers):
        half = x.to(torch.bfloat16)
        heads = (batch, length, teacher.num_heads, -1)
        q, k, v = (linear(half, f"l{layer}.{name}").view(heads).transpose(1, 2) for name in "qkv")
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)
        mixed = linear(mixed.transpose(1, 2).reshape(batch, length, -1), f"l{layer}.ao")
        x = norm(x + mixed, f"l{layer}.aln")
        inner = F.gelu(linear(x.to(torch.bfloat16), f"l{layer}.fi"))
        x = norm(x + linear(inner, f"l{layer}.fo"), f"l{layer}.oln")
        yield x


@torch.inference_mode()
def teacher_vectors(
    teacher: SentenceTeacher,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    max_tokens: int = 128,
    token_budget: int = 8192,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float16]:
    """L2-normalised teacher vectors (N, D) of texts, in their order; computed in batches of like length."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast([PREFIX + text for text in texts])]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = np.zeros((len(texts), teacher.width), dtype=np.float16)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(ids[order[stop]]) * (stop + 1 - start) <= token_budget:
            stop += 1
        rows = order[start:stop]
        length = max(len(ids[row]) for row in rows)
        token_ids = torch.ones(len(rows), length, dtype=torch.int64)  # 1 is XLM-R's pad id
        for position, row in enumerate(rows):
            token_ids[position, : len(ids[row])] = torch.as_tensor(ids[row])
        vectors = teacher_forward(teacher, token_ids, token_ids != 1)
        out[rows] = F.normalize(vectors, dim=1).numpy().astype(np.float16)
        start = stop
        progress(start)
    return out
