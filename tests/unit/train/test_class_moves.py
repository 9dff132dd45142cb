"""Features moved from class to class: the classifier takes them for what was wanted; they stay possible features."""

from __future__ import annotations

import torch

from babelclip.train.class_moves import HIGHEST, ClassMoves, carry

CLASSES, WIDTH = 8, 40


def classifier() -> ClassMoves:
    torch.manual_seed(0)
    return ClassMoves(torch.randn(CLASSES, WIDTH), torch.randn(CLASSES))


def photos(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.relu(torch.randn(number, WIDTH, generator=generator))


def test_the_classifier_takes_moved_photos_for_the_wanted_class() -> None:
    moves, pooled, wanted = classifier(), photos(64), torch.arange(64) % CLASSES
    before = moves.logits(pooled).softmax(dim=1).gather(1, wanted[:, None])
    for strength, least in ((0.05, 0.2), (0.4, 0.9)):
        moved = moves.move(pooled, wanted, torch.full((64,), strength))
        after = moves.logits(moved).softmax(dim=1).gather(1, wanted[:, None])
        assert (after > before).all()
        assert after.mean() > least


def test_moved_features_are_within_what_the_trunk_can_give() -> None:
    moved = classifier().move(photos(32) * 3, torch.zeros(32, dtype=torch.long), torch.full((32,), 2.0))
    assert moved.min() >= 0
    assert moved.max() == HIGHEST


def test_nothing_moves_without_strength() -> None:
    moves, pooled = classifier(), photos(16)
    assert torch.equal(moves.move(pooled, torch.ones(16, dtype=torch.long), torch.zeros(16)), pooled)


def test_tokens_are_carried_to_the_new_mean_and_keep_their_differences() -> None:
    tokens = torch.relu(torch.randn(5, 9, WIDTH, generator=torch.Generator().manual_seed(2)))
    before, after = tokens.mean(dim=1), photos(5)
    carried = carry(tokens, before, after)
    torch.testing.assert_close(carried.mean(dim=1), after, atol=1e-5, rtol=1e-5)
    assert carried.min() >= 0
    assert (carried.diff(dim=1) * tokens.diff(dim=1)).min() >= -1e-6  # no position overtakes another
    assert carry(tokens, before, before + 100).max() == HIGHEST
