"""Metrics on plain arrays. Pure NumPy, tested on cases small enough to do by hand.

Letters: N queries, M pool items, E embedding (vectors are normalized, so a dot product is a cosine).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Owners = NDArray[np.int64]

QUERIES_AT_ONCE = 1024
"""Rows of the score matrix held in memory together: never N x M at once."""


def best_ranks(queries: Floats, pool: Floats, query_owners: Owners, pool_owners: Owners) -> NDArray[np.int64]:
    """Place (0 = first) of the best right answer of every query: int64 (N,).

    A pool item is right for a query when both have the same owner (the photo that they belong to, or the
    class). Equal scores keep the order of the pool, as a stable sort would.

    Args:
        queries: (N, E).
        pool: (M, E).
        query_owners: (N,).
        pool_owners: (M,).

    Raises:
        ValueError: a query has no right answer in the pool, or a score is not finite.
    """
    ranks = np.empty(len(queries), np.int64)
    columns = np.arange(len(pool))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        scores = queries[rows] @ pool.T  # (n, M)
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite; some vectors hold NaN or infinity")
        right = query_owners[rows, None] == pool_owners[None, :]  # (n, M)
        if not right.any(axis=1).all():
            raise ValueError(f"query {start + int(np.argmin(right.any(axis=1)))} has no right answer in the pool")
        own = np.where(right, scores, -np.inf)
        best, first = own.max(axis=1), own.argmax(axis=1)
        higher = (scores > best[:, None]).sum(axis=1)
        tied_before = ((scores == best[:, None]) & (columns < first[:, None])).sum(axis=1)
        ranks[rows] = higher + tied_before
    return ranks


def hits_at(ranks: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """1.0 where the right answer is among the first ``k``, else 0.0. Its mean is R@k, or top-k accuracy."""
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    return (ranks < k).astype(np.float64)


def average_ranks(values: Floats) -> NDArray[np.float64]:
    """Ranks from 1 upwards; equal values share the mean of the places that they fill. (N,) -> (N,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation, ties by average ranks. (N,), (N,) -> -1..1.

    Raises:
        ValueError: lengths differ, fewer than two values, or all values of one side are equal (undefined).
    """
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"expected two equally long vectors of at least two values, found {a.shape} and {b.shape}")
    ranks_a, ranks_b = average_ranks(a), average_ranks(b)
    ranks_a, ranks_b = ranks_a - ranks_a.mean(), ranks_b - ranks_b.mean()
    spread = float(np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b)))
    if spread == 0.0:
        raise ValueError("rank correlation is undefined: all values of one side are equal")
    return float(ranks_a @ ranks_b) / spread


Interval = tuple[float, float]
RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)


def interval_of_mean(values: Floats, groups: Owners, seed: int, resamples: int = RESAMPLES) -> Interval:
    """95% bootstrap interval of a mean. Whole groups are drawn: captions of one photo are not independent.

    Args:
        values: (N,).
        groups: (N,), the photo (or other unit) that each value belongs to.
        seed: of the draws.
        resamples: how many draws.
    """
    _, members = np.unique(groups, return_inverse=True)
    sums = np.bincount(members, weights=values)
    counts = np.bincount(members)
    draws = np.random.default_rng(seed).integers(0, len(sums), (resamples, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, PERCENTILES)
    return float(low), float(high)


def interval_of_spearman(a: Floats, b: Floats, seed: int, resamples: int = RESAMPLES) -> Interval:
    """95% bootstrap interval of ``spearman``; pairs are drawn. A draw without any spread is drawn again."""
    generator = np.random.default_rng(seed)
    found: list[float] = []
    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        raise ValueError("rank correlation is undefined: all values of one side are equal")
    while len(found) < resamples:
        draw = generator.integers(0, len(a), len(a))
        if len(np.unique(a[draw])) > 1 and len(np.unique(b[draw])) > 1:
            found.append(spearman(a[draw], b[draw]))
    low, high = np.percentile(found, PERCENTILES)
    return float(low), float(high)
