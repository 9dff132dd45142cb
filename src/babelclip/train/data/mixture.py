"""Which rows of which source make batch number s: reproducible, the same in every process, a function of s alone.

Sources take turns in a fixed pattern in which each stands as often as its weight says; each source is gone through in
a new random order every epoch, so no row comes again before all have been seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import ConfigError

PATTERN = 1000  # length of the pattern: weights are kept to a thousandth


class Mixture:
    """Rows of several sources by weight.

    Args:
        sizes: Rows of each source.
        weights: How often each is drawn, relative to the others.
        seed: Of the pattern and of the orders.

    Raises:
        ConfigError: A source is empty, or a weight is not positive or too small beside the others.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        if not sizes or len(sizes) != len(weights) or min(sizes) < 1:
            raise ConfigError(f"a mixture needs sources with rows and a weight for each, found sizes {list(sizes)}")
        total = sum(weights)
        if min(weights) <= 0 or min(weights) / total < 1 / PATTERN:
            raise ConfigError(f"weights must be positive and at least a {PATTERN}th of their sum: {list(weights)}")
        self._sizes, self._seed = tuple(sizes), seed
        ends = np.round(np.cumsum(np.array(weights) / total) * PATTERN).astype(int)
        self._pattern = np.repeat(np.arange(len(sizes)), np.diff(ends, prepend=0))
        np.random.default_rng([seed, 3]).shuffle(self._pattern)
        turns = self._pattern[:, None] == np.arange(len(sizes))
        self._turns = turns.sum(axis=0)
        self._before = np.cumsum(turns, axis=0) - turns  # of each source, turns before each place of the pattern
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}  # source -> the epoch last asked for, its order

    def draw(self, step: int, number: int) -> list[tuple[int, int]]:
        """(source, row) of each of a batch's ``number`` places."""
        return [self.at(each) for each in range(step * number, (step + 1) * number)]

    def at(self, number: int) -> tuple[int, int]:
        """(source, row) at a place of the endless stream that batches are cut from."""
        cycle, within = divmod(number, PATTERN)
        source = int(self._pattern[within])
        draw = cycle * int(self._turns[source]) + int(self._before[within, source])
        epoch, position = divmod(draw, self._sizes[source])
        return source, int(self._order(source, epoch)[position])

    def _order(self, source: int, epoch: int) -> NDArray[np.int64]:
        known = self._orders.get(source)
        if known is None or known[0] != epoch:
            order = np.random.default_rng([self._seed, 4, source, epoch]).permutation(self._sizes[source])
            known = self._orders[source] = epoch, order
        return known[1]
