"""Failures stay where they arise."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.errors import ConfigError, ImageError, TextError
from babelclip.runtime.isolate import as_input_error, run_isolated


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
