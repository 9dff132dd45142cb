"""The mixture: weights kept, every row before any again, a function of the step alone."""

from __future__ import annotations

from collections import Counter

import pytest

from babelclip.errors import ConfigError
from babelclip.train.data.mixture import Mixture


def test_every_row_comes_once_an_epoch_and_in_another_order_each() -> None:
    mixture = Mixture([10, 7], [1, 1], seed=0)
    rows = [mixture.at(place) for place in range(4000)]
    first = [row for source, row in rows if source == 0]
    assert sorted(first[:10]) == sorted(first[10:20]) == list(range(10))
    assert first[:10] != first[10:20]


def test_weights_are_kept() -> None:
    counts = Counter(source for source, _ in Mixture([5, 5, 5], [6, 3, 1], seed=1).draw(0, 10_000))
    assert counts == {0: 6000, 1: 3000, 2: 1000}


def test_a_batch_is_a_function_of_its_number_alone() -> None:
    fresh, used = Mixture([50, 9], [2, 1], seed=3), Mixture([50, 9], [2, 1], seed=3)
    for step in range(7):
        used.draw(step, 16)
    assert fresh.draw(7, 16) == used.draw(7, 16)
    assert fresh.draw(7, 16) != Mixture([50, 9], [2, 1], seed=4).draw(7, 16)


@pytest.mark.parametrize(
    ("sizes", "weights"), [([], []), ([3], [1, 1]), ([0], [1]), ([3, 3], [1, 0]), ([3, 3], [1e6, 1])]
)
def test_what_cannot_be_mixed_is_an_error(sizes: list[int], weights: list[float]) -> None:
    with pytest.raises(ConfigError):
        Mixture(sizes, weights, seed=0)
