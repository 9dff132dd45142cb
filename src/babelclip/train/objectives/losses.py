"""Losses as functions of tensors, each with its source.

Letters: B batch, M bank, K negatives, Y kinds of keys, E width of the vectors. Vectors need not be normalized; every
function normalizes the prefix that it works on, as a user of a shorter one does. ``scale`` is the inverse of a
temperature, 0-d. ``keys`` (B, Y) int64 say what a row means, in one or several ways (its words, its image): rows that
share a key (the same caption twice, two captions of one image) are never each other's negatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Loss = Callable[[Tensor, Tensor], Tensor]
ROWS_A_BLOCK = 512
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


def same_key(row_keys: Tensor, bank_keys: Tensor) -> Tensor:
    """Which rows mean the same in some way: (B, Y), (M, Y) int64 -> (B, M) bool."""
    same = row_keys[:, None, 0] == bank_keys[None, :, 0]
    for kind in range(1, row_keys.shape[1]):
        same = same | (row_keys[:, None, kind] == bank_keys[None, :, kind])
    return same


def info_nce(vectors: Tensor, bank: Tensor, keys: Tensor, bank_keys: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of each row picking its positive out of a bank (van den Oord et al. 2018): 0-d.

    Args:
        vectors: (B, E).
        bank: (M, E); its first B rows are the positives, in order.
        keys: (B, Y) of the rows. Bank rows with a row's key, but for its positive, count for nothing.
        bank_keys: (M, Y).
        scale: 0-d.
    """
    vectors, bank = F.normalize(vectors, dim=-1), F.normalize(bank, dim=-1)
    positive = torch.arange(len(vectors), device=vectors.device)
    if len(vectors) <= ROWS_A_BLOCK:
        return _picking(vectors, bank, positive, keys, bank_keys, scale) / len(vectors)
    total = vectors.new_zeros(())
    for start in range(0, len(vectors), ROWS_A_BLOCK):
        rows = slice(start, start + ROWS_A_BLOCK)
        picked = vectors[rows], bank, positive[rows], keys[rows], bank_keys, scale
        found: Tensor = checkpoint(_picking, *picked, use_reentrant=False)
        total = total + found
    return total / len(vectors)


def _picking(vectors: Tensor, bank: Tensor, positive: Tensor, keys: Tensor, bank_keys: Tensor, scale: Tensor) -> Tensor:
    """Sum of the rows' cross-entropies."""
    ignored = same_key(keys, bank_keys).scatter(1, positive[:, None], False)
    logits = (vectors @ bank.T * scale).masked_fill(ignored, float("-inf"))
    return F.cross_entropy(logits, positive, reduction="sum")


def symmetric_info_nce(
    vectors: Tensor,
    bank: Tensor,
    keys: Tensor,
    bank_keys: Tensor,
    scale: Tensor,
    *,
    directions: Directions = "mean",
) -> Tensor:
    """InfoNCE both ways (CLIP, Radford et al. 2021): (B, E), (M, E), (B, Y), (M, Y) -> 0-d.

    The bank's first B rows are the vectors' own, in order; only those look back. What follows them are negatives of one
    side beyond the batch's own.
    """
    number = len(vectors)
    forth = info_nce(vectors, bank, keys, bank_keys, scale)
    back = info_nce(bank[:number], vectors, bank_keys[:number], keys, scale)
    return _both(forth, back, directions)


def hard_negative_info_nce(
    queries: Tensor,
    passages: Tensor,
    negatives: Tensor,
    keys: Tensor,
    negative_keys: Tensor,
    scale: Tensor,
    *,
    directions: Directions = "mean",
) -> Tensor:
    """InfoNCE with mined negatives (jina-clip-v1's third stage): 0-d.

    Every row's negatives stand in every query's denominator; from passage to query there are none. A negative of
    another row that is the query's own passage counts for nothing there.

    Args:
        queries: (B, E).
        passages: (B, E).
        negatives: (B, K, E).
        keys: (B, Y) of the passages.
        negative_keys: (B * K, Y).
        scale: 0-d.
        directions: How both ways are put together.
    """
    bank = torch.cat((passages, negatives.flatten(0, 1)))
    forth = info_nce(queries, bank, keys, torch.cat((keys, negative_keys)), scale)
    back = info_nce(passages, queries, keys, keys, scale)
    return _both(forth, back, directions)


def sigmoid_pairs(vectors: Tensor, targets: Tensor, keys: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Every pair of a batch judged alone, by a sigmoid (SigLIP, Zhai et al. 2023): (B, E), (B, E), (B, Y) -> 0-d.

    The sum over all pairs, divided by B, as published. Pairs off the diagonal that share a key are left out.
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
    """Mean squared error of normalized features, summed over the width (CLIP-KD, Yang et al. 2024): 2 x (B, E) -> 0-d.

    On unit vectors this is twice ``cosine_distance``; recipes that quote feature distillation mean this one.
    """
    return (F.normalize(vectors, dim=-1) - F.normalize(targets, dim=-1)).pow(2).sum(dim=-1).mean()


def relational(vectors: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """KL between how a teacher and how its student see the rest of a batch: (B, E), (B, E) -> 0-d.

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


def name_agreement(
    vectors: Tensor,
    logits: Tensor,
    members: Tensor,
    names: Tensor,
    dims: Sequence[int],
    *,
    scale: float,
    order_weight: float,
) -> Tensor:
    """How far recognition by name in one language is from what a classifier says, mean over some widths: 0-d.

    Cross-entropy between both probabilities, and one minus the correlation of all cosines with all logits (DIST, Huang
    et al. 2022): probabilities speak of the few likeliest classes, the order of all of them says much more about a
    photo.

    Args:
        vectors: (B, E) of images.
        logits: (B, classes) of the classifier.
        members: (M,) classes that the language names.
        names: (M, E) vectors of these names.
        dims: Widths.
        scale: Of the cosines, fixed: how sharp recognition by name is.
        order_weight: Of the correlation.
    """
    shares, wanted = F.softmax(logits, dim=1)[:, members], logits[:, members]
    terms: list[Tensor] = []
    for dim in dims:
        cosines = F.normalize(vectors[:, :dim], dim=1) @ F.normalize(names[:, :dim], dim=1).T
        entropy = -(F.log_softmax(cosines * scale, dim=1) * shares).sum(dim=1).mean()
        terms.append(entropy + order_weight * (1 - correlation(cosines, wanted)).mean())
    return torch.stack(terms).mean()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, row by row: 2 x (B, M) -> (B,)."""
    first, second = (rows - rows.mean(dim=1, keepdim=True) for rows in (first, second))
    return F.cosine_similarity(first, second, dim=1)
