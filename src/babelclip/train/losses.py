"""Losses as functions of tensors, each with its source. Letters: B batch, M bank, E width of the vectors.

Vectors need not be normalised; every function normalises the prefix that it works on, as a user of a shorter one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def matryoshka(loss: Loss, vectors: Tensor, targets: Tensor, dims: Sequence[int]) -> Tensor:
    """Mean of a loss over prefixes of both sides (Matryoshka representation learning, Kusupati et al. 2022)."""
    terms = [loss(vectors[..., :dim], targets[..., :dim]) for dim in dims]
    return torch.stack(terms).mean()


def cosine_distance(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - cosine, row by row: (B, E), (B, E) -> 0-d."""
    return 1 - F.cosine_similarity(vectors, targets, dim=-1).mean()


def relational(vectors: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """KL between how a target and how its student see the batch's targets: (B, E), (B, E) -> 0-d.

    Relational distillation (Park et al. 2019) in the contrastive form of CRD (Tian et al. 2020): the soft labels are
    the targets' own similarities, so equal or near-equal targets are not pushed apart.
    """
    vectors, targets = F.normalize(vectors, dim=-1), F.normalize(targets, dim=-1)
    wanted = F.log_softmax(targets @ targets.T / temperature, dim=-1)
    found = F.log_softmax(vectors @ targets.T / temperature, dim=-1)
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")


def info_nce(vectors: Tensor, bank: Tensor, positive: Tensor, ignored: Tensor | None, scale: Tensor) -> Tensor:
    """Cross-entropy of each row picking its positive out of a bank (van den Oord et al. 2018): 0-d.

    vectors: (B, E); bank: (M, E); positive: (B,) int64 positions in the bank; ignored: (B, M) bool, bank rows that mean
    the same as the positive (duplicate captions, captions of the same image) and count for nothing; scale: 0-d.
    """
    logits = F.normalize(vectors, dim=-1) @ F.normalize(bank, dim=-1).T * scale
    if ignored is not None:
        keep = F.one_hot(positive, bank.shape[0]).bool()
        logits = logits.masked_fill(ignored & ~keep, float("-inf"))
    return F.cross_entropy(logits, positive)


def same_key(row_keys: Tensor, bank_keys: Tensor) -> Tensor:
    """(B,), (M,) int64 -> (B, M) bool: the bank rows that carry the row's own key, for ``info_nce``'s ``ignored``."""
    return row_keys[:, None] == bank_keys[None, :]


def symmetric_info_nce(vectors: Tensor, targets: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways inside a batch of pairs (CLIP, Radford et al. 2021); equal ``keys`` are no negatives."""
    positive = torch.arange(len(vectors))
    ignored = same_key(keys, keys)
    forth = info_nce(vectors, targets, positive, ignored, scale)
    back = info_nce(targets, vectors, positive, ignored, scale)
    return (forth + back) / 2


def cosent(first: Tensor, second: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """Pairs that people found more alike should get the higher cosine (CoSENT, Su 2022): 2 x (B, E), (B,) -> 0-d."""
    cosines = F.cosine_similarity(first, second, dim=-1) * scale
    differences = cosines[:, None] - cosines[None, :]  # [i, j]: how much pair i is above pair j
    wrong = scores[:, None] < scores[None, :]
    return torch.logsumexp(F.pad(differences[wrong], (1, 0)), dim=0)
