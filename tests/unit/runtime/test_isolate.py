"""Batches under a budget, and failures that stay where they arise."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.errors import ConfigError, ImageError, TextError
from babelclip.runtime.isolate import as_input_error, batches_by_length, run_isolated


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


@given(st.lists(st.booleans(), max_size=40))
def test_only_culprits_fail(bad: list[bool]) -> None:
    def run(part: Sequence[int]) -> list[int]:
        if any(bad[item] for item in part):
            raise ValueError(f"one of {part}")
        return [item * 10 for item in part]

    results = run_isolated(run, range(len(bad)))
    for item, result in enumerate(results):
        assert isinstance(result, ValueError) if bad[item] else result == item * 10


def test_earlier_failures_stay_in_their_places() -> None:
    error = ImageError("broken")
    assert run_isolated(lambda part: [item + 1 for item in part], [1, error, 3]) == [2, error, 4]
    assert run_isolated(lambda part: pytest.fail("nothing to run"), [error]) == [error]


def test_unforeseen_errors_are_named() -> None:
    assert (
        str(as_input_error(ZeroDivisionError("by zero"), TextError))
        == "could not be embedded: ZeroDivisionError: by zero"
    )
    assert str(as_input_error(ConfigError("no such thing"), ImageError)) == "no such thing"
    error = TextError("as it is")
    assert as_input_error(error, ImageError) is error
