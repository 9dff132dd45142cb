"""Sign bits: one bit a number says on which side of the center it lies, and counting differing bits finds candidates.

Vectors of one kind lie in a narrow cone around their mean, those of texts around another one than those of images. The
signs of what is left after the mean is taken away spread evenly, and they alone tell rows of a kind apart: for a fixed
query q and rows x of center m, ``q.x = q.m + q.(x - m)``, whose first part is the same for all.
Bits of a Matryoshka prefix are enough (PERFORMANCE: candidates, then rescoring with whole vectors).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors

Words = NDArray[np.uint64]

BLOCK = 1 << 16
"""Rows that are counted at once: what a step writes stays in the cache."""


def pack(vectors: Vectors, center: Vectors, width: int) -> Words:
    """Sign bits of the first ``width`` numbers of (N, E) around a center (E,): (N, W), filled up with zero bits."""
    bits = vectors[:, :width] > center[:width]
    fill = -width % 64
    if fill:
        bits = np.pad(bits, ((0, 0), (0, fill)))
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)


def differing(query: Words, columns: Words) -> NDArray[np.uint16]:
    """How many bits of each row differ from the query's (W,); ``columns`` (W, N): the rows' words, one a column."""
    count = columns.shape[1]
    total = np.empty(count, np.uint16)
    mixed, ones = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint8)
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        size = end - start
        into = total[start:end]
        for place, word in enumerate(query):
            np.bitwise_xor(columns[place, start:end], word, out=mixed[:size])
            np.bitwise_count(mixed[:size], out=ones[:size])
            if place:
                np.add(into, ones[:size], out=into)
            else:
                into[:] = ones[:size]
    return total


def nearest(distances: NDArray[np.uint16], k: int) -> NDArray[np.int64]:
    """Places of the ``k`` smallest distances, and of all that are as small as the k-th.

    Distances are small whole numbers, so counting them is quicker than sorting.
    """
    if len(distances) <= k:
        return np.arange(len(distances))
    upto = np.cumsum(np.bincount(distances))
    return np.flatnonzero(distances <= np.searchsorted(upto, k))
