"""Metrics against cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from babelclip.evaluate import metrics
from babelclip.evaluate.metrics import (
    average_ranks,
    best_ranks,
    hits_at,
    interval_of_mean,
    interval_of_spearman,
    spearman,
)


def owners(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_rank_of_the_one_right_answer() -> None:
    pool = np.eye(3)
    queries = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    assert best_ranks(queries, pool, owners(0, 1, 2), owners(0, 1, 2)).tolist() == [0, 1, 2]


def test_the_best_of_several_right_answers_counts() -> None:
    # One photo; captions score 0.2 (own), 0.9 (other), 0.7 (own), 0.8 (other): its best own caption is third.
    pool = np.array([[0.2], [0.9], [0.7], [0.8]])
    assert best_ranks(np.array([[1.0]]), pool, owners(0), owners(0, 1, 0, 1)).tolist() == [2]


def test_equal_scores_keep_the_order_of_the_pool() -> None:
    pool = np.ones((4, 1))
    ranks = best_ranks(np.ones((4, 1)), pool, owners(0, 1, 2, 3), owners(0, 1, 2, 3))
    assert ranks.tolist() == [0, 1, 2, 3]  # an encoder that says the same of everything gets 1 of 4, not 4 of 4


def test_blocks_of_queries_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    queries, pool = generator.standard_normal((11, 5)), generator.standard_normal((7, 5))
    whose = generator.integers(0, 7, 11)
    whole = best_ranks(queries, pool, whose, np.arange(7))
    monkeypatch.setattr(metrics, "QUERIES_AT_ONCE", 4)
    assert best_ranks(queries, pool, whose, np.arange(7)).tolist() == whole.tolist()
    by_sorting = [list(np.argsort(-(pool @ query))).index(owner) for query, owner in zip(queries, whose, strict=True)]
    assert whole.tolist() == by_sorting


def test_a_query_without_right_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="query 1 has no right answer"):
        best_ranks(np.ones((2, 1)), np.ones((1, 1)), owners(0, 5), owners(0))


def test_nan_is_an_error_not_a_miss() -> None:
    with pytest.raises(ValueError, match="finite"):
        best_ranks(np.array([[np.nan]]), np.ones((1, 1)), owners(0), owners(0))


def test_hits_at() -> None:
    ranks = owners(0, 4, 5, 9, 10)
    assert hits_at(ranks, 1).tolist() == [1, 0, 0, 0, 0]
    assert hits_at(ranks, 5).mean() == pytest.approx(2 / 5)
    assert hits_at(ranks, 10).mean() == pytest.approx(4 / 5)
    with pytest.raises(ValueError, match="at least 1"):
        hits_at(ranks, 0)


def test_average_ranks_share_places() -> None:
    assert average_ranks(np.array([10.0, 30.0, 20.0, 20.0])).tolist() == [1.0, 4.0, 2.5, 2.5]


def test_spearman_by_hand() -> None:
    # Without ties: 1 - 6 * sum(d^2) / (n (n^2 - 1)); d = 0, -1, 1, 0 -> 1 - 6 * 2 / 60 = 0.8
    assert spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 9.0, 4.0, 16.0])) == pytest.approx(0.8)
    # With ties: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
    assert spearman(np.array([0.0, 2.0, 2.0, 7.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(4.5 / 22.5**0.5)
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)


def test_spearman_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    for _ in range(20):
        a = generator.integers(0, 6, 50) / 1.2  # many ties, as in STS scores
        b = a + generator.standard_normal(50).round(1)
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [([1.0, 1.0], [1.0, 2.0], "undefined"), ([1.0], [1.0], "two"), ([1.0, 2.0], [1.0, 2.0, 3.0], "equally long")],
)
def test_spearman_refuses_what_has_no_answer(a: list[float], b: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        spearman(np.array(a), np.array(b))


def test_interval_draws_whole_groups() -> None:
    # Two photos, one all hits, one all misses: a draw of two photos has mean 0, 0.5 or 1. Were the 200 values drawn
    # one by one, the interval would be narrow around 0.5.
    values, groups = np.repeat([1.0, 0.0], 100), np.repeat([7, 9], 100)
    assert interval_of_mean(values, groups, seed=0) == (0.0, 1.0)
    low, high = interval_of_mean(values, np.arange(200), seed=0)
    assert 0.4 < low < 0.5 < high < 0.6


def test_intervals_repeat_with_the_seed_and_hold_the_value() -> None:
    generator = np.random.default_rng(5)
    a = generator.standard_normal(80)
    b = a + generator.standard_normal(80)
    low, high = interval_of_spearman(a, b, seed=1, resamples=200)
    assert (low, high) == interval_of_spearman(a, b, seed=1, resamples=200)
    assert (low, high) != interval_of_spearman(a, b, seed=2, resamples=200)
    assert low < spearman(a, b) < high
