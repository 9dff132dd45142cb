"""Losses as functions of tensors, each with its source. Letters: B batch, M bank, K negatives, E width of the vectors.

Vectors need not be normalised; every function normalises the prefix that it works on, as a user of a shorter one does.
``scale`` is the inverse of a temperature, 0-d. ``keys`` (B,) int64 say what a row means: rows of equal keys (the same
caption twice, two captions of one image) are never each other's negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Loss = Callable[[Tensor, Tensor], Tensor]
ROWS_AT_ONCE = 512
"""Of a larger contrast's matrix only so many rows exist at a time: computed again in the backward pass, so that a batch
of thousands needs no B x B floats (4,096 rows: 64 MB, several times over)."""
Directions = Literal["mean", "sum"]
"""Of the two directions of a symmetric loss: OpenCLIP takes the mean, jina-clip-v1 (Koukounas et al. 2024) the sum."""


def matryoshka(
    loss: Loss, vectors: Tensor, targets: Tensor, dims: Sequence[int], weights: Sequence[float] | None = None
) -> Tensor:
    """Weighted mean of a loss over prefixes of both sides (Matryoshka representations, Kusupati et al. 2022)."""
    return weighted_mean(by_width(loss, vectors, targets, dims), weights)


def by_width(loss: Loss, vectors: Tensor, targets: Tensor, dims: Sequence[int]) -> Tensor:
    """A loss at each of some prefixes of both sides: (widths,)."""
    return torch.stack([loss(vectors[..., :dim], targets[..., :dim]) for dim in dims])


def weighted_mean(terms: Tensor, weights: Sequence[float] | None) -> Tensor:
    """(N,) -> 0-d; None: all weigh the same."""
    if weights is None:
        return terms.mean()
    shares = torch.tensor(weights, dtype=terms.dtype, device=terms.device)
    return (terms * shares).sum() / shares.sum()


# ---------------------------------------------------------------- contrast


def info_nce(vectors: Tensor, bank: Tensor, positive: Tensor, ignored: Tensor | None, scale: Tensor) -> Tensor:
    """Cross-entropy of each row picking its positive out of a bank (van den Oord et al. 2018): 0-d.

    vectors: (B, E); bank: (M, E); positive: (B,) int64 positions in the bank; ignored: (B, M) bool, bank rows that mean
    the same as the positive (duplicate captions, captions of the same image) and count for nothing; scale: 0-d.
    """
    vectors, bank = F.normalize(vectors, dim=-1), F.normalize(bank, dim=-1)
    if ignored is not None:
        ignored = ignored.scatter(1, positive[:, None], False)
    if len(vectors) <= ROWS_AT_ONCE:
        return _picking(vectors, bank, positive, ignored, scale) / len(vectors)
    total = vectors.new_zeros(())
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        mask = None if ignored is None else ignored[rows]
        found: Tensor = checkpoint(_picking, vectors[rows], bank, positive[rows], mask, scale, use_reentrant=False)
        total = total + found
    return total / len(vectors)


def _picking(vectors: Tensor, bank: Tensor, positive: Tensor, ignored: Tensor | None, scale: Tensor) -> Tensor:
    """Sum of the rows' cross-entropies."""
    logits = vectors @ bank.T * scale
    if ignored is not None:
        logits = logits.masked_fill(ignored, float("-inf"))
    return F.cross_entropy(logits, positive, reduction="sum")


def bank_info_nce(vectors: Tensor, bank: Tensor, ignored: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways, with negatives of one side beyond the batch's own: (B, E), (M, E), (B, M) -> 0-d.

    The bank's first B rows are the vectors' own, in order; only those look back. ignored: as in ``info_nce``.
    """
    number = len(vectors)
    own = torch.arange(number, device=vectors.device)
    forth = info_nce(vectors, bank, own, ignored, scale)
    back = info_nce(bank[:number], vectors, own, ignored[:, :number].T, scale)
    return (forth + back) / 2


def same_key(row_keys: Tensor, bank_keys: Tensor) -> Tensor:
    """(B,), (M,) int64 -> (B, M) bool: the bank rows that carry the row's own key, for ``info_nce``'s ``ignored``."""
    return row_keys[:, None] == bank_keys[None, :]


def symmetric_info_nce(
    vectors: Tensor, targets: Tensor, keys: Tensor, scale: Tensor, *, directions: Directions = "mean"
) -> Tensor:
    """InfoNCE both ways inside a batch of pairs (CLIP, Radford et al. 2021): (B, E), (B, E), (B,) -> 0-d."""
    positive = torch.arange(len(vectors), device=vectors.device)
    ignored = same_key(keys, keys)
    forth = info_nce(vectors, targets, positive, ignored, scale)
    back = info_nce(targets, vectors, positive, ignored, scale)
    return _both(forth, back, directions)


def hard_negative_info_nce(
    queries: Tensor,
    passages: Tensor,
    negatives: Tensor,
    keys: Tensor,
    scale: Tensor,
    *,
    directions: Directions = "mean",
) -> Tensor:
    """InfoNCE with mined negatives (jina-clip-v1's third stage): (B, E), (B, E), (B, K, E), (B,) -> 0-d.

    Every row's negatives stand in every query's denominator; from passage to query there are none. Negatives of a row
    with the query's own key count for that query too: they were mined to be wrong.
    """
    positive = torch.arange(len(queries), device=queries.device)
    same = same_key(keys, keys)
    bank = torch.cat((passages, negatives.flatten(0, 1)))
    ignored = F.pad(same, (0, len(bank) - len(same)))
    forth = info_nce(queries, bank, positive, ignored, scale)
    back = info_nce(passages, queries, positive, same, scale)
    return _both(forth, back, directions)


def sigmoid_pairs(vectors: Tensor, targets: Tensor, keys: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Every pair of a batch judged alone, by a sigmoid (SigLIP, Zhai et al. 2023): (B, E), (B, E), (B,) -> 0-d.

    The sum over all pairs, divided by B, as published. Pairs off the diagonal with equal keys are left out.
    """
    logits = F.normalize(vectors, dim=-1) @ F.normalize(targets, dim=-1).T * scale + bias
    own = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
    terms = F.softplus(torch.where(own, -logits, logits))  # -log sigmoid(+-logit)
    return terms.masked_fill(same_key(keys, keys) & ~own, 0.0).sum() / len(vectors)


def _both(forth: Tensor, back: Tensor, directions: Directions) -> Tensor:
    return forth + back if directions == "sum" else (forth + back) / 2


# ---------------------------------------------------------------- order and distillation


def cosent(first: Tensor, second: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """Pairs that people found more alike should get the higher cosine (CoSENT, Su 2022): 2 x (B, E), (B,) -> 0-d."""
    cosines = F.cosine_similarity(first, second, dim=-1) * scale
    differences = cosines[:, None] - cosines[None, :]  # [i, j]: how much pair i is above pair j
    wrong = scores[:, None] < scores[None, :]
    return torch.logsumexp(F.pad(differences[wrong], (1, 0)), dim=0)


def cosine_distance(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 - cosine, row by row: (B, E), (B, E) -> 0-d. The distillation of Reimers & Gurevych (2020)."""
    return 1 - F.cosine_similarity(vectors, targets, dim=-1).mean()


def squared_distance(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of normalised features, summed over the width (CLIP-KD, Yang et al. 2024): 2 x (B, E) -> 0-d.

    On unit vectors this is twice ``cosine_distance``; recipes that quote feature distillation mean this one.
    """
    return (F.normalize(vectors, dim=-1) - F.normalize(targets, dim=-1)).pow(2).sum(dim=-1).mean()


def relational(vectors: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """KL between how a target and how its student see the batch's targets: (B, E), (B, E) -> 0-d.

    Relational distillation (Park et al. 2019) in the contrastive form of CRD (Tian et al. 2020): the soft labels are
    the targets' own similarities, so equal or near-equal targets are not pushed apart.
    """
    vectors, targets = F.normalize(vectors, dim=-1), F.normalize(targets, dim=-1)
    wanted = F.log_softmax(targets @ targets.T / temperature, dim=-1)
    found = F.log_softmax(vectors @ targets.T / temperature, dim=-1)
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")


def score_divergence(queries: Tensor, passages: Tensor, teacher_scores: Tensor, scale: Tensor) -> Tensor:
    """KL from a reranker's scores to the cosines (as RocketQAv2, Ren et al. 2021): (B, E), (B, K, E), (B, K) -> 0-d.

    ``teacher_scores`` are logits, already divided by the teacher's own temperature.
    """
    cosines = (F.normalize(queries, dim=-1)[:, None] * F.normalize(passages, dim=-1)).sum(dim=-1)
    wanted = F.log_softmax(teacher_scores, dim=-1)
    return F.kl_div(F.log_softmax(cosines * scale, dim=-1), wanted, log_target=True, reduction="batchmean")
