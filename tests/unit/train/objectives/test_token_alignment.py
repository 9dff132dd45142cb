"""Two tokenizations of one text: where both cut, what lies between, means."""

from __future__ import annotations

import numpy as np
import torch

from babelclip.train.objectives.token_alignment import OUTSIDE, Aligner, segment_means, shared_segments


def test_segments_end_where_both_cut() -> None:
    ours, theirs, number = shared_segments(np.array([1, 2, 3, 2, 1]), np.array([3, 2, 1, 3]))
    assert (ours.tolist(), theirs.tolist(), number) == ([0, 0, 1, 2, 2], [0, 1, 1, 2], 3)


def test_what_lies_behind_the_last_shared_cut_is_outside() -> None:
    ours, theirs, number = shared_segments(np.array([2, 2]), np.array([2, 1, 5]))
    assert (ours.tolist(), theirs.tolist(), number) == ([0, OUTSIDE], [0, OUTSIDE, OUTSIDE], 1)
    ours, theirs, number = shared_segments(np.array([2]), np.array([], dtype=np.int64))
    assert (ours.tolist(), theirs.tolist(), number) == ([OUTSIDE], [], 0)


def test_rows_are_numbered_through_and_unknown_tokens_end_a_comparison() -> None:
    lengths = np.array([3, 5, 4, 5, 1, 2, 3])  # of pieces 0 to 6; 0 is <s>, 2 is </s>, 3 is unknown
    align = Aligner(lengths, lengths)
    found = align([[0, 4, 5, 2], [0, 6, 3, 4, 2]], [[0, 6, 2], [0, 5, 4, 3, 6, 2]])
    assert found.ours.tolist() == [[0, 2, 2, 1, OUTSIDE], [3, 5, OUTSIDE, OUTSIDE, 4]]
    assert found.theirs.tolist() == [[0, 2, 1, OUTSIDE, OUTSIDE, OUTSIDE], [3, 5, 5, OUTSIDE, OUTSIDE, 4]]
    assert found.number == 6


def test_means_leave_out_what_is_outside() -> None:
    states = torch.arange(12.0).reshape(2, 3, 2)
    found = segment_means(states, torch.tensor([[0, 0, OUTSIDE], [2, 1, 1]]), 3)
    assert found.tolist() == [[1.0, 2.0], [9.0, 10.0], [6.0, 7.0]]
