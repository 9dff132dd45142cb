"""Token tables, weights, and batches that depend on seed and step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from babelclip.errors import ConfigError
from babelclip.train.data.batches import BUCKET_EDGES, TextSampler, TokenTable, row_weights
from babelclip.train.data.texts import Row


def table(*lengths: int) -> TokenTable:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenTable(np.arange(starts[-1], dtype=np.int32) + 4, starts)


def test_padded_rows_stand_between_the_specials() -> None:
    batch = table(2, 0, 3).padded(np.array([0, 1, 2]))
    assert batch.tolist() == [[0, 4, 5, 2, 1], [0, 2, 1, 1, 1], [0, 6, 7, 8, 2]]


def test_long_rows_are_cut_and_still_end() -> None:
    batch = table(500).padded(np.array([0]))
    assert batch.shape == (1, BUCKET_EDGES[-1])
    assert batch[0, -1] == 2


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    table(2, 5).write(tmp_path / "t.npz")
    assert np.array_equal(TokenTable.read(tmp_path / "t.npz").lengths, [4, 7])


def test_groups_share_as_told_and_small_languages_get_more_than_their_part() -> None:
    rows = [Row("x", "en", "a", (0,))] * 90 + [Row("x", "de", "a", (0,))] * 10 + [Row("x", "en", "b", (0,))] * 5
    weights = row_weights(rows, {"a": 3.0, "b": 1.0}, temperature=0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[100:].sum() == pytest.approx(0.25)
    assert weights[90:100].sum() == pytest.approx(0.75 * 10**0.5 / (10**0.5 + 90**0.5))
    more_english = row_weights(rows, {"a": 3.0, "b": 1.0}, temperature=0.5, english=4.0)
    assert more_english[:90].sum() > weights[:90].sum()


def test_a_group_without_weight_is_named() -> None:
    with pytest.raises(ConfigError, match="poems"):
        row_weights([Row("x", "en", "poems", (0,))], {"a": 1.0}, 0.5)


def test_batches_are_a_function_of_seed_and_step() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    tokens, weights = table(*lengths), np.ones(500) / 500
    first, second = TextSampler(tokens, weights, 256, seed=1), TextSampler(tokens, weights, 256, seed=1)
    ahead = second.draw(7)
    assert np.array_equal(first.draw(7), ahead)
    assert any(not np.array_equal(first.draw(s), TextSampler(tokens, weights, 256, seed=2).draw(s)) for s in range(5))


def test_batches_hold_like_lengths_within_the_budget_and_no_row_twice() -> None:
    tokens = table(*np.random.default_rng(0).integers(1, 60, 500))
    sampler = TextSampler(tokens, np.ones(500) / 500, 256, seed=1)
    for step in range(50):
        rows = sampler.draw(step)
        lengths = tokens.lengths[rows]
        assert len(np.unique(rows)) == len(rows)
        assert len({int(np.searchsorted(BUCKET_EDGES, length)) for length in lengths}) == 1
        assert lengths.max() * len(rows) <= 256 or len(rows) <= 2


def test_rows_without_weight_are_never_drawn() -> None:
    tokens = table(*[5] * 100)
    weights = np.where(np.arange(100) < 50, 1.0, 0.0)
    drawn = np.concatenate([TextSampler(tokens, weights, 64, seed=3).draw(step) for step in range(30)])
    assert drawn.max() < 50
