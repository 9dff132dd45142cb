"""Two tokenizations of one text, cut where both cut.

What a pruned vocabulary says in three pieces, the whole one says in one; the means over each such segment can be
compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OUTSIDE = -1  # padding, and what lies behind the last shared cut


@dataclass(frozen=True, slots=True)
class Segments:
    """Number of the segment that each token lies in, counted through the batch; ``OUTSIDE`` where there is none."""

    ours: Tensor  # (B, T) int64
    theirs: Tensor  # (B, T') int64
    number: int


def piece_lengths(pieces: Sequence[str]) -> NDArray[np.int64]:
    """Characters of each piece of a vocabulary, by token id."""
    return np.array([len(piece) for piece in pieces], dtype=np.int64)


def shared_segments(
    ours: NDArray[np.int64], theirs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Lengths of two rows of pieces of one text -> the segment of each of ours, of each of theirs, and how many."""
    ends = np.cumsum(ours), np.cumsum(theirs)
    cuts = np.intersect1d(*ends)
    positions = [np.searchsorted(cuts, side) for side in ends]
    ours_in, theirs_in = (np.where(position < len(cuts), position, OUTSIDE) for position in positions)
    return ours_in, theirs_in, len(cuts)


@dataclass(frozen=True, slots=True)
class Aligner:
    """Knows both vocabularies."""

    our_lengths: NDArray[np.int64]
    their_lengths: NDArray[np.int64]
    pad: int = 1
    unknown: int = 3  # in both: XLM-R's

    def __call__(self, ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> Segments:
        """Rows of token ids with <s> and </s>, without padding. Each of these two is a segment of its own.

        Behind an unknown token nothing is compared: it does not tell how much of the text it stands for.
        """
        number = 0
        sides: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
        for our_row, their_row in zip(ours, theirs, strict=True):
            bodies = [self._known(our_row), self._known(their_row)]
            lengths = self.our_lengths[bodies[0]], self.their_lengths[bodies[1]]
            *inner, count = shared_segments(*lengths)
            for side, row, segments in zip(sides, (our_row, their_row), inner, strict=True):
                numbered = np.full(len(row), OUTSIDE, dtype=np.int64)
                numbered[1 : len(segments) + 1] = np.where(segments == OUTSIDE, OUTSIDE, segments + number + 2)
                numbered[0], numbered[-1] = number, number + 1
                side.append(numbered)
            number += count + 2
        return Segments(_padded(sides[0], OUTSIDE), _padded(sides[1], OUTSIDE), number)

    def _known(self, row: Sequence[int]) -> NDArray[np.int64]:
        """A row's tokens between <s> and </s>, up to the first unknown one."""
        body = np.asarray(row[1:-1], dtype=np.int64)
        unknown = np.flatnonzero(body == self.unknown)
        return body[: unknown[0]] if len(unknown) else body


def _padded(rows: Sequence[NDArray[np.int64]], fill: int) -> Tensor:
    out = np.full((len(rows), max(map(len, rows))), fill, dtype=np.int64)
    for position, row in enumerate(rows):
        out[position, : len(row)] = row
    return torch.from_numpy(out)


def segment_means(states: Tensor, segments: Tensor, number: int) -> Tensor:
    """Mean over the tokens of each segment: (B, T, ...), (B, T) -> (number, ...)."""
    inside = segments != OUTSIDE
    positions = segments[inside]
    sums = states.new_zeros((number, *states.shape[2:])).index_add(0, positions, states[inside])
    counts = torch.bincount(positions, minlength=number).to(states.dtype)
    return sums / counts.view(-1, *[1] * (states.ndim - 2))
