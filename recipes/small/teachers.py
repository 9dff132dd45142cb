"""The sentence teacher: multilingual-e5-small's forward pass (BERT, post-norm, learned positions, mean pooling).

A recipe that learns from its tokens names ``teachers.py:sentence_teacher``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.bundled import bundled_folder
from babelclip.train.objectives.token_teacher import TokenStates
from pretrained import SentenceTeacher, read_sentence_teacher
from vocabulary import encode_ids, whole_tokenizer

PREFIX = "query: "
"""E5's prefix for symmetric tasks (Wang et al. 2024)."""
BOS, PAD, EOS = 0, 1, 2
MAX_TOKENS = 128  # of a text, specials included; the rest is cut
TOKEN_BUDGET = 8192  # of a batch, padding included


class TeacherTokens:
    """A ``TokenTeacher``: the tokens' vectors after each layer, the prefix in front of a text and not given."""

    def __init__(self, teacher: SentenceTeacher, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.num_layers = tokenizer, teacher.num_layers
        self._teacher = teacher
        self._prefix = next(iter(encode_ids(tokenizer, [PREFIX.strip()])))

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], max_tokens: int) -> TokenStates:
        """States of the tokens of texts, each cut to ``max_tokens``, with <s> and </s>."""
        rows = [[BOS, *ids[: max_tokens - 2], EOS] for ids in encode_ids(self.tokenizer, texts)]
        token_ids = padded(rows).to(self._teacher.tensors["emb.word"].device)
        prefix = torch.tensor(self._prefix, device=token_ids.device).expand(len(rows), -1)
        whole = torch.cat((token_ids[:, :1], prefix, token_ids[:, 1:]), dim=1)
        states = torch.stack(list(teacher_states(self._teacher, whole, whole != PAD)), dim=2)
        without = torch.cat((states[:, :1], states[:, 1 + len(self._prefix) :]), dim=1)
        return TokenStates(rows, without, token_ids != PAD)


def sentence_teacher(device: torch.device | str = "cpu") -> TeacherTokens:
    """The teacher for a recipe's learning by tokens.

    Raises:
        DatasetError: its package is not installed.
    """
    teacher = on_device(read_sentence_teacher(), device)
    return TeacherTokens(teacher, Tokenizer.from_str(teacher_tokenizer(teacher)))


def teacher_tokenizer(teacher: SentenceTeacher) -> str:
    """The teacher's ``tokenizer.json``: all pieces of XLM-R, of which the bundled model has some.

    Raises:
        FolderError: this installation has no bundled model.
    """
    return whole_tokenizer(teacher.pieces, bundled_folder() / "tokenizer.json")


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of token ids as one batch: (B, T) int64."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def on_device(teacher: SentenceTeacher, device: torch.device | str) -> SentenceTeacher:
    """The same teacher, its weights on a device."""
    return replace(teacher, tensors={name: tensor.to(device) for name, tensor in teacher.tensors.items()})


def multiply_dtype(device: torch.device) -> torch.dtype:
    """What matrices are multiplied in: bfloat16 where the device has it, for elsewhere it is slow."""
    if device.type != "cpu":
        return torch.bfloat16
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if known.get("avx512_bf16") or known.get("amx_bf16") else torch.float32


def teacher_forward(teacher: SentenceTeacher, token_ids: Tensor, mask: Tensor) -> Tensor:
    """Token ids (B, T) int64 and mask (B, T) bool -> mean-pooled vectors (B, D), not normalized."""
    *_, last = teacher_states(teacher, token_ids, mask)
    weights = mask.unsqueeze(-1).float()
    return (last * weights).sum(dim=1) / weights.sum(dim=1)


def teacher_states(teacher: SentenceTeacher, token_ids: Tensor, mask: Tensor) -> Iterator[Tensor]:
    """The tokens' vectors after each layer in turn: (B, T), (B, T) -> (B, T, D) float32."""
    w, dtype = teacher.tensors, multiply_dtype(token_ids.device)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.w"].to(x.dtype), w[f"{name}.b"].to(x.dtype))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x.float(), (teacher.width,), w[f"{name}.w"], w[f"{name}.b"], teacher.norm_eps)

    batch, length = token_ids.shape
    x = norm(w["emb.word"][token_ids] + w["emb.pos"][:length] + w["emb.type"][0], "emb.ln")
    attend = mask[:, None, None, :]
    for layer in range(teacher.num_layers):
        half = x.to(dtype)
        heads = (batch, length, teacher.num_heads, -1)
        q, k, v = (linear(half, f"l{layer}.{name}").view(heads).transpose(1, 2) for name in "qkv")
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)
        mixed = linear(mixed.transpose(1, 2).reshape(batch, length, -1), f"l{layer}.ao")
        x = norm(x + mixed, f"l{layer}.aln")
        inner = F.gelu(linear(x.to(dtype), f"l{layer}.fi"))
        x = norm(x + linear(inner, f"l{layer}.fo"), f"l{layer}.oln")
        yield x


@torch.inference_mode()
def teacher_vectors(teacher: SentenceTeacher, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float16]:
    """Unit vectors (N, D) of texts, in their order; computed in batches of like length on the teacher's device."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast([PREFIX + text for text in texts])]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    out = np.zeros((len(texts), teacher.width), dtype=np.float16)
    device = teacher.tensors["emb.word"].device
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(ids[order[stop]]) * (stop + 1 - start) <= TOKEN_BUDGET:
            stop += 1
        rows = order[start:stop]
        token_ids = padded([ids[row] for row in rows]).to(device)
        vectors = teacher_forward(teacher, token_ids, token_ids != PAD)
        out[rows] = F.normalize(vectors, dim=1).cpu().numpy().astype(np.float16)
        start = stop
    return out
