"""The losses against their definitions, written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from babelclip.train.losses import (
    cosent,
    cosine_distance,
    info_nce,
    matryoshka,
    relational,
    same_key,
    symmetric_info_nce,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cosine_distance_ignores_length_and_is_zero_for_parallel_vectors() -> None:
    vectors = random(5, 8)
    assert cosine_distance(vectors, 3 * vectors).item() == pytest.approx(0, abs=1e-6)
    assert cosine_distance(vectors, -vectors).item() == pytest.approx(2, abs=1e-6)


def test_matryoshka_is_the_mean_over_prefixes() -> None:
    vectors, targets = random(5, 8), random(5, 8, seed=1)
    expected = (cosine_distance(vectors[:, :2], targets[:, :2]) + cosine_distance(vectors, targets)) / 2
    torch.testing.assert_close(matryoshka(cosine_distance, vectors, targets, (2, 8)), expected)


def test_relational_is_zero_at_the_targets_and_positive_elsewhere() -> None:
    targets = random(6, 8)
    assert relational(targets, targets, temperature=0.1).item() == pytest.approx(0, abs=1e-6)
    assert relational(random(6, 8, seed=1), targets, temperature=0.1).item() > 0.01


def test_info_nce_is_cross_entropy_over_the_bank() -> None:
    vectors, bank, positive = random(3, 4), random(7, 4, seed=1), torch.tensor([2, 0, 6])
    logits = 5 * F.normalize(vectors, dim=1) @ F.normalize(bank, dim=1).T
    expected = -(logits.gather(1, positive[:, None])[:, 0] - logits.logsumexp(dim=1)).mean()
    torch.testing.assert_close(info_nce(vectors, bank, positive, None, torch.tensor(5.0)), expected)


def test_ignored_bank_rows_change_nothing() -> None:
    vectors, bank, positive = random(3, 4), random(7, 4, seed=1), torch.tensor([0, 1, 2])
    ignored = torch.zeros(3, 7, dtype=torch.bool)
    ignored[:, 5:] = True
    scale = torch.tensor(5.0)
    torch.testing.assert_close(
        info_nce(vectors, bank, positive, ignored, scale), info_nce(vectors, bank[:5], positive, None, scale)
    )


def test_the_positive_itself_is_never_ignored() -> None:
    vectors, keys = random(3, 4), torch.tensor([4, 4, 9])
    loss = info_nce(vectors, vectors, torch.arange(3), same_key(keys, keys), torch.tensor(5.0))
    assert torch.isfinite(loss)


def test_duplicate_captions_are_no_negatives() -> None:
    """Two images with one caption: masked, the pair alone decides; unmasked, half of the probability is lost."""
    image, text = random(1, 4).repeat(2, 1), random(1, 4).repeat(2, 1)
    scale = torch.tensor(5.0)
    masked = symmetric_info_nce(image, text, torch.tensor([1, 1]), scale)
    apart = symmetric_info_nce(image, text, torch.tensor([1, 2]), scale)
    assert masked.item() == pytest.approx(0, abs=1e-6)
    assert apart.item() == pytest.approx(math.log(2), abs=1e-6)


def test_cosent_wants_the_order_of_the_scores() -> None:
    first = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), dim=1)
    second = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=1)  # cosines 1, 0.71, 0
    right = cosent(first, second, torch.tensor([1.0, 0.5, 0.0]))
    wrong = cosent(first, second, torch.tensor([0.0, 0.5, 1.0]))
    assert right.item() < 0.1 < 10 < wrong.item()


def test_cosent_without_ordered_pairs_is_zero() -> None:
    assert cosent(random(3, 4), random(3, 4, seed=1), torch.ones(3)).item() == pytest.approx(0)
