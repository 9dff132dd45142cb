"""Features moved from class to class: the classifier takes them for what was wanted; they stay possible features."""

from __future__ import annotations

import torch

from babelclip.train.class_moves import HIGHEST, ClassMoves

CLASSES, WIDTH = 8, 40


def classifier() -> ClassMoves:
    torch.manual_seed(0)
    return ClassMoves(torch.randn(CLASSES, WIDTH), torch.randn(CLASSES))


def photos(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.relu(torch.randn(number, 4, WIDTH, generator=generator))


def test_the_classifier_takes_moved_photos_for_the_wanted_class() -> None:
    moves, regions, wanted = classifier(), photos(64), torch.arange(64) % CLASSES
    before = moves.logits(regions).softmax(dim=1).gather(1, wanted[:, None])
    for strength, least in ((0.05, 0.2), (0.4, 0.9)):
        moved = moves.move(regions, wanted, torch.full((64,), strength))
        after = moves.logits(moved).softmax(dim=1).gather(1, wanted[:, None])
        assert (after > before).all()
        assert after.mean() > least


def test_moved_features_are_within_what_the_trunk_can_give() -> None:
    moved = classifier().move(photos(32) * 3, torch.zeros(32, dtype=torch.long), torch.full((32,), 2.0))
    assert moved.min() >= 0
    assert moved.max() == HIGHEST


def test_regions_keep_their_differences_and_nothing_moves_without_strength() -> None:
    moves, regions, wanted = classifier(), photos(16) + 2, torch.ones(16, dtype=torch.long)
    assert torch.equal(moves.move(regions, wanted, torch.zeros(16)), regions)
    step = moves.move(regions, wanted, torch.full((16,), 0.05)) - regions
    torch.testing.assert_close(step, step[:, :1].expand_as(step), atol=1e-5, rtol=0)
