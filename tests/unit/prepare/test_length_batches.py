"""Batches under a budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from babelclip.prepare.length_batches import batches_by_length


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 512), st.integers(1, 40), st.integers(0, 100))
def test_batches_hold_everything_once_and_keep_the_budget(
    lengths: list[int], budget: int, max_rows: int, padding: int
) -> None:
    batches = batches_by_length(lengths, budget, max_rows, padding)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= max_rows
        own = [lengths[position] for position in batch]
        assert len(batch) == 1 or len(batch) * max(own) <= budget
        assert len(batch) * max(own) - sum(own) <= padding


def test_lengths_do_not_pay_for_each_other() -> None:
    lengths = [500] + [5] * 100
    for padding in (0, 10_000):
        batches = batches_by_length(lengths, 512, 64, padding)
        assert sum(len(batch) * max(lengths[position] for position in batch) for batch in batches) == sum(lengths)
    mixed = [20, 20, 10, 10]
    assert [len(batch) for batch in batches_by_length(mixed, 512, 64, 20)] == [4]
    assert [len(batch) for batch in batches_by_length(mixed, 512, 64, 19)] == [3, 1]


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 512))
def test_the_budget_alone_bounds_a_batch_where_nothing_else_is_said(lengths: list[int], budget: int) -> None:
    batches = batches_by_length(lengths, budget)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch, after in zip(batches, [*batches[1:], []], strict=False):
        longest = max(1, *(lengths[position] for position in batch))
        assert len(batch) == 1 or len(batch) * longest <= budget
        assert not after or (len(batch) + 1) * longest > budget, "another text would have fitted"
