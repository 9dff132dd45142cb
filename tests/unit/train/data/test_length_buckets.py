"""Token tables, weights, and batches that depend on seed and step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from babelclip.prepare.config import TextPrepareConfig
from babelclip.prepare.text import TextPreparer
from babelclip.train.data.length_buckets import BUCKET_EDGES, LengthBucketSampler, TokenTable, row_weights, tokenize

TOKENIZER = Path(__file__).parents[3] / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"


def table(*lengths: int) -> TokenTable:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenTable(np.arange(starts[-1], dtype=np.int32) + 4, starts)


def test_texts_are_tokenized_as_the_model_sees_them_and_found_again(tmp_path: Path) -> None:
    preparer = TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=77))
    texts = ["a dog", "", "a much longer text about two dogs on a bridge at night"]
    found = tokenize(preparer, texts, 9, tmp_path)
    assert found.rows(np.arange(3)) == preparer.tokenize(texts, max_tokens=9).token_ids
    assert found.lengths.max() == 9
    (kept,) = tmp_path.iterdir()
    assert tokenize(preparer, texts, 9, tmp_path).rows(np.arange(3)) == found.rows(np.arange(3))
    tokenize(preparer, texts, 8, tmp_path)
    tokenize(preparer, texts[:2], 9, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3  # other texts and other limits are other tables
    kept.unlink()


def test_groups_share_as_told_and_small_languages_get_more_than_their_part() -> None:
    groups, languages = ["a"] * 100 + ["b"] * 5, ["en"] * 90 + ["de"] * 10 + ["en"] * 5
    weights = row_weights(groups, languages, {"a": 3.0, "b": 1.0}, temperature=0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[100:].sum() == pytest.approx(0.25)
    assert weights[90:100].sum() == pytest.approx(0.75 * 10**0.5 / (10**0.5 + 90**0.5))
    more_english = row_weights(groups, languages, {"a": 3.0, "b": 1.0}, temperature=0.5, english=4.0)
    assert more_english[:90].sum() > weights[:90].sum()


def test_batches_are_a_function_of_seed_and_step() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    tokens, weights = table(*lengths), np.ones(500) / 500
    first, second = (
        LengthBucketSampler(tokens.lengths, weights, 256, seed=1),
        LengthBucketSampler(tokens.lengths, weights, 256, seed=1),
    )
    ahead = second.draw(7)
    assert np.array_equal(first.draw(7), ahead)
    assert any(
        not np.array_equal(first.draw(s), LengthBucketSampler(tokens.lengths, weights, 256, seed=2).draw(s))
        for s in range(5)
    )


def test_batches_hold_like_lengths_within_the_budget_and_no_row_twice() -> None:
    tokens = table(*np.random.default_rng(0).integers(1, 60, 500))
    sampler = LengthBucketSampler(tokens.lengths, np.ones(500) / 500, 256, seed=1)
    for step in range(50):
        rows = sampler.draw(step)
        lengths = tokens.lengths[rows]
        assert len(np.unique(rows)) == len(rows)
        assert len({int(np.searchsorted(BUCKET_EDGES, length)) for length in lengths}) == 1
        assert lengths.max() * len(rows) <= 256 or len(rows) <= 2


def test_rows_without_weight_are_never_drawn() -> None:
    tokens = table(*[5] * 100)
    weights = np.where(np.arange(100) < 50, 1.0, 0.0)
    drawn = np.concatenate([LengthBucketSampler(tokens.lengths, weights, 64, seed=3).draw(step) for step in range(30)])
    assert drawn.max() < 50
