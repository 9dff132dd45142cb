"""Two bits a number: enough of every vector to find candidates by counting bits.

Vectors of photos lie in a narrow cone around their mean, and a text's cosines with them differ little: signs alone, the
query's too, lose the nearest. So both sides keep more (asymmetric scalar quantization, after RaBitQ, Gao & Long 2024,
arXiv:2405.12497):

- a row x of center m becomes ``R(x - m)``, turned by a fixed random rotation R so that no number matters more than
  another, then two bits a number: u = 0..3 stands for -1.5, -0.5, 0.5, 1.5 steps, a step being the spread of a number;
- a query becomes ``R q``, three bits a number: k = 0..7.

``q.x = q.m + (R q).(R(x - m))``, whose first part is the same for all rows of a kind; the second is, up to constants,
the sum of k u less a multiple of the sum of u, and ``sum k u`` is made of counts of common bits. A Matryoshka
prefix is enough. lab/LOG.md (2026-11-28) has what each choice costs and brings.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors

PackedBits = NDArray[np.uint64]
Rotation = NDArray[np.float32]

QUERY_BITS = 3
MAX_NUMBERS = 384
"""Numbers of a vector that are coded: of wider ones a Matryoshka prefix. Scores fit into 16 bits up to 780 numbers."""
_BLOCK = 1 << 16
"""Rows that are counted at once: what a step writes stays in the cache."""
WIDEST = 2.6
"""Spreads of a query's numbers within which its levels lie; what is beyond gets the outermost."""


def random_rotation(width: int) -> Rotation:
    """A rotation (W, W), the same for a width. It is stored with what it has turned: nobody need repeat it."""
    numbers = np.random.default_rng(20261128).normal(size=(width, width))
    return np.linalg.qr(numbers)[0].astype(np.float32)


def encode_rows(turned: Vectors, steps: NDArray[np.float32]) -> PackedBits:
    """Codes of centered, turned rows (N, W) with a step each (N,): (N, 2 words) - high bits, then low ones."""
    levels = np.clip(np.floor(turned / steps[:, None]) + 2, 0, 3).astype(np.uint8)
    return np.concatenate([_packed(levels & 2), _packed(levels & 1)], axis=1)


def sums_of_levels(columns: PackedBits) -> NDArray[np.int16]:
    """The sum of u of each row; ``columns`` (2 words, N) holds the rows' words, one a column."""
    half = len(columns) // 2
    high = sum((np.bitwise_count(words).astype(np.int16) for words in columns[:half]), np.int16(0))
    low = sum((np.bitwise_count(words).astype(np.int16) for words in columns[half:]), np.int16(0))
    return np.asarray(2 * high + low, np.int16)


class CodedQuery:
    """A query that is compared with codes."""

    def __init__(self, turned: Vectors) -> None:
        """Code a query.

        Args:
            turned: (W,), not centered.
        """
        levels = 2**QUERY_BITS
        step = max(2 * WIDEST * float(turned.std()) / levels, 1e-12)
        level = np.clip(np.floor(turned / step) + levels // 2, 0, levels - 1).astype(np.uint8)
        self._planes = [_packed((level & (1 << bit))[None])[0] for bit in range(QUERY_BITS)]

    def scores(self, columns: PackedBits, sums: NDArray[np.int16], threads: int = 1) -> NDArray[np.int16]:
        """A number for each row (N,) that grows with its cosine; it means nothing by itself."""
        count = columns.shape[1]
        total = np.empty(count, np.int16)
        blocks = [(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]

        def count_share(share: int) -> None:
            room = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint8), np.empty(_BLOCK, np.int16)
            for start, end in blocks[share::threads]:
                self._block(columns[:, start:end], sums[start:end], total[start:end], room)

        if threads == 1 or len(blocks) < 2 * threads:
            threads = 1
            count_share(0)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(count_share, range(threads)))
        return total

    def _block(
        self,
        columns: PackedBits,
        sums: NDArray[np.int16],
        total: NDArray[np.int16],
        room: tuple[PackedBits, NDArray[np.uint8], NDArray[np.int16]],
    ) -> None:
        size, half = len(total), len(columns) // 2
        both, ones, weighed = (array[:size] for array in room)
        # sum of k u, less the middle of k times the sum of u; doubled, so that it stays whole
        np.multiply(sums, np.int16(1 - 2**QUERY_BITS), out=total)
        for index, column in enumerate(columns):
            for bit, plane in enumerate(self._planes):
                np.bitwise_and(column, plane[index % half], out=both)
                np.bitwise_count(both, out=ones)
                np.left_shift(ones, bit + 1 + (index < half), out=weighed, dtype=np.int16)
                np.add(total, weighed, out=total)


def best_indices(scores: NDArray[np.int16], k: int) -> NDArray[np.int64]:
    """Places of the ``k`` largest scores, and of all that are as large as the k-th."""
    if len(scores) <= k:
        return np.arange(len(scores))
    lowest = int(scores.min())
    at_least = np.cumsum(
        np.bincount(scores.astype(np.int32) - lowest)[::-1]
    )  # scores are small whole numbers: counting beats sorting
    threshold = lowest + len(at_least) - 1 - int(np.searchsorted(at_least, k))
    return np.flatnonzero(scores >= threshold)


def _packed(bits: NDArray[np.uint8]) -> PackedBits:
    """Bits (N, W), anything but zero is one, as words (N, ceil(W / 64)), filled up with zeros."""
    fill = -bits.shape[1] % 64
    filled = np.pad(bits, ((0, 0), (0, fill))) if fill else bits
    return np.packbits(filled != 0, axis=1, bitorder="little").view(np.uint64)
