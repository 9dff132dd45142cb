"""The losses against their definitions, written out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from babelclip.train.objectives import losses
from babelclip.train.objectives.losses import (
    correlation,
    cosent,
    cosine_distance,
    hard_negative_info_nce,
    info_nce,
    matryoshka,
    name_agreement,
    relational,
    same_key,
    score_divergence,
    sigmoid_pairs,
    squared_distance,
    symmetric_info_nce,
)


def keys(numbers: Iterable[int]) -> torch.Tensor:
    """One key a row: (B, 1)."""
    return torch.tensor(list(numbers))[:, None]


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
    vectors, bank = random(3, 4), random(7, 4, seed=1)
    logits = 5 * F.normalize(vectors, dim=1) @ F.normalize(bank, dim=1).T
    expected = -(logits.diagonal() - logits.logsumexp(dim=1)).mean()
    torch.testing.assert_close(info_nce(vectors, bank, keys(range(3)), keys(range(7)), torch.tensor(5.0)), expected)


def test_a_large_contrast_in_pieces_has_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    same = keys(range(11)) // 2  # pairs of rows that mean the same
    found = []
    for rows in (512, 3):
        monkeypatch.setattr(losses, "ROWS_A_BLOCK", rows)
        leaves = [random(11, 4).double(), random(11, 4, seed=1).double(), torch.tensor(5.0, dtype=torch.float64)]
        vectors, targets, scale = (leaf.requires_grad_(True) for leaf in leaves)
        loss = symmetric_info_nce(vectors, targets, same, same, scale)
        found.append([loss.detach(), *torch.autograd.grad(loss, (vectors, targets, scale))])
    for plain, pieced in zip(*found, strict=True):
        torch.testing.assert_close(pieced, plain, rtol=1e-12, atol=1e-15)


def test_ignored_bank_rows_change_nothing() -> None:
    vectors, bank, scale = random(3, 4), random(7, 4, seed=1), torch.tensor(5.0)
    whole = info_nce(vectors, bank, keys([1, 1, 1]), keys([1, 8, 9, 4, 5, 1, 1]), scale)
    torch.testing.assert_close(whole, info_nce(vectors, bank[:5], keys([1, 1, 1]), keys([1, 8, 9, 4, 5]), scale))


def test_the_positive_itself_is_never_ignored() -> None:
    vectors, same = random(3, 4), keys([4, 4, 9])
    assert torch.isfinite(info_nce(vectors, vectors, same, same, torch.tensor(5.0)))


def test_rows_are_the_same_where_any_of_their_keys_is() -> None:
    of_images, words = torch.tensor([1, 1, 2, 3]), torch.tensor([7, 8, 8, 9])
    rows = torch.stack((of_images, words), dim=1)
    expected = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert same_key(rows, rows).int().tolist() == expected


def test_duplicate_captions_are_no_negatives() -> None:
    """Two images with one caption: masked, the pair alone decides; unmasked, half of the probability is lost."""
    image, text = random(1, 4).repeat(2, 1), random(1, 4).repeat(2, 1)
    scale = torch.tensor(5.0)
    masked = symmetric_info_nce(image, text, keys([1, 1]), keys([1, 1]), scale)
    apart = symmetric_info_nce(image, text, keys([1, 2]), keys([1, 2]), scale)
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


# ---------------------------------------------------------------- float64 references, loop by loop


def unit(*shape: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Random float64 vectors of any length, and the same normalized for a reference."""
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vectors, F.normalize(vectors, dim=-1).numpy()


KEYS = keys([3, 5, 3, 8, 9])
NEGATIVE_KEYS = keys([20, 21, 22, 23, 24, 25, 5, 27, 28, 29])  # one of the fourth row's is the second one's passage
SCALE = torch.tensor(7.0, dtype=torch.float64)


def row_loss(scores: dict[int, float], positive: int) -> float:
    return -(scores[positive] - math.log(sum(math.exp(score) for score in scores.values())))


def test_a_bank_adds_negatives_to_one_direction_alone() -> None:
    vectors, bank, scale = random(3, 8), random(7, 8, seed=1), torch.tensor(5.0)
    rows, of_bank = keys([1, 2, 3]), keys([1, 2, 3, 4, 5, 1, 6])
    forth = info_nce(vectors, bank, rows, of_bank, scale)
    back = info_nce(bank[:3], vectors, rows, rows, scale)
    torch.testing.assert_close(symmetric_info_nce(vectors, bank, rows, of_bank, scale), (forth + back) / 2)


@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_symmetric_info_nce_by_loops(directions: str) -> None:
    (a, x), (b, y) = unit(5, 6, seed=1), unit(5, 6, seed=2)
    same, total = KEYS.flatten().tolist(), 0.0
    for one, two in ((x, y), (y, x)):
        for i in range(5):
            rivals = {j: 7.0 * float(one[i] @ two[j]) for j in range(5) if j == i or same[j] != same[i]}
            total += row_loss(rivals, i) / 5
    expected = total if directions == "sum" else total / 2
    assert symmetric_info_nce(a, b, KEYS, KEYS, SCALE, directions=directions).item() == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_hard_negatives_of_all_rows_stand_against_every_query_and_against_no_passage(directions: str) -> None:
    (queries, q), (passages, p), (negatives, n) = unit(5, 6, seed=1), unit(5, 6, seed=2), unit(5, 2, 6, seed=3)
    same, wrong, forth, back = KEYS.flatten().tolist(), NEGATIVE_KEYS.flatten().tolist(), 0.0, 0.0
    for i in range(5):
        scores = {j: 7.0 * float(q[i] @ p[j]) for j in range(5) if j == i or same[j] != same[i]}
        places = ((j, k) for j in range(5) for k in range(2) if wrong[2 * j + k] != same[i])
        scores |= {100 + 2 * j + k: 7.0 * float(q[i] @ n[j, k]) for j, k in places}
        forth += row_loss(scores, i) / 5
        back += row_loss({j: 7.0 * float(p[i] @ q[j]) for j in range(5) if j == i or same[j] != same[i]}, i) / 5
    expected = forth + back if directions == "sum" else (forth + back) / 2
    found = hard_negative_info_nce(queries, passages, negatives, KEYS, NEGATIVE_KEYS, SCALE, directions=directions)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_anothers_negative_that_is_the_querys_own_passage_does_not_fight_it() -> None:
    """Unmasked, a perfect query would keep ln 2 for ever."""
    passages = F.normalize(torch.eye(2, 4), dim=1)
    negatives = torch.stack((passages[1:], torch.eye(4)[3:]))  # the first row's is the second one's passage
    own = keys([1, 2])
    found = hard_negative_info_nce(passages, passages, negatives, own, keys([2, 9]), torch.tensor(100.0))
    assert found.item() == pytest.approx(0, abs=1e-6)
    fighting = hard_negative_info_nce(passages, passages, negatives, own, keys([8, 9]), torch.tensor(100.0))
    assert fighting.item() == pytest.approx(math.log(2) / 4, abs=1e-6)


def test_sigmoid_pairs_by_loops() -> None:
    (a, x), (b, y) = unit(5, 6, seed=1), unit(5, 6, seed=2)
    same, total = KEYS.flatten().tolist(), 0.0
    for i in range(5):
        for j in range(5):
            if i == j or same[i] != same[j]:
                sign = 1.0 if i == j else -1.0
                total += math.log1p(math.exp(-sign * (7.0 * float(x[i] @ y[j]) - 4.0)))
    found = sigmoid_pairs(a, b, KEYS, SCALE, torch.tensor(-4.0, dtype=torch.float64))
    assert found.item() == pytest.approx(total / 5, rel=1e-12)


def test_cosent_by_loops() -> None:
    (a, x), (b, y) = unit(5, 6, seed=1), unit(5, 6, seed=2)
    scores, total = [0.2, 0.9, 0.2, 0.5, 0.0], 1.0
    cosines = [float(x[i] @ y[i]) for i in range(5)]
    for i in range(5):
        for j in range(5):
            if scores[i] < scores[j]:
                total += math.exp(20 * (cosines[i] - cosines[j]))
    assert cosent(a, b, torch.tensor(scores, dtype=torch.float64)).item() == pytest.approx(math.log(total), rel=1e-12)


def test_score_divergence_by_loops() -> None:
    (queries, q), (passages, p) = unit(3, 6, seed=1), unit(3, 4, 6, seed=2)
    teacher = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    total = 0.0
    for i in range(3):
        wanted = np.exp(teacher[i].numpy()) / np.exp(teacher[i].numpy()).sum()
        scores = np.array([7.0 * float(q[i] @ p[i, k]) for k in range(4)])
        found = np.exp(scores) / np.exp(scores).sum()
        total += float((wanted * np.log(wanted / found)).sum())
    assert score_divergence(queries, passages, teacher, SCALE).item() == pytest.approx(total / 3, rel=1e-12)


def test_distances_and_relational_by_loops() -> None:
    (a, x), (b, y) = unit(5, 6, seed=1), unit(5, 6, seed=2)
    cosines = (x * y).sum(axis=1)
    assert cosine_distance(a, b).item() == pytest.approx(1 - cosines.mean(), rel=1e-12)
    assert squared_distance(a, b).item() == pytest.approx(2 - 2 * cosines.mean(), rel=1e-12)
    total = 0.0
    for i in range(5):
        wanted, found = np.exp(y[i] @ y.T / 0.3), np.exp(x[i] @ y.T / 0.3)
        wanted, found = wanted / wanted.sum(), found / found.sum()
        total += float((wanted * np.log(wanted / found)).sum())
    assert relational(a, b, temperature=0.3).item() == pytest.approx(total / 5, rel=1e-12)


def test_matryoshka_weights() -> None:
    (a, _), (b, _) = unit(5, 6, seed=1), unit(5, 6, seed=2)
    short, whole = cosine_distance(a[:, :2], b[:, :2]), cosine_distance(a, b)
    torch.testing.assert_close(matryoshka(cosine_distance, a, b, (2, 6), (1.0, 3.0)), (short + 3 * whole) / 4)


@pytest.mark.parametrize("loss", ["nce", "negatives", "sigmoid", "cosent", "divergence", "relational", "squared"])
def test_gradients_are_those_of_finite_differences(loss: str) -> None:
    (a, _), (b, _), (negatives, _) = unit(5, 6, seed=1), unit(5, 6, seed=2), unit(5, 2, 6, seed=3)
    scores = torch.tensor([0.2, 0.9, 0.2, 0.5, 0.0], dtype=torch.float64)
    losses = {
        "nce": lambda x, s: symmetric_info_nce(x, b, KEYS, KEYS, s),
        "negatives": lambda x, s: hard_negative_info_nce(x, b, negatives, KEYS, NEGATIVE_KEYS, s),
        "sigmoid": lambda x, s: sigmoid_pairs(x, b, KEYS, s, -s),
        "cosent": lambda x, s: cosent(x, b, scores) + 0 * s,
        "divergence": lambda x, s: score_divergence(x, negatives, scores[:, None] * scores[:2], s),
        "relational": lambda x, s: relational(x, b, temperature=0.3) + 0 * s,
        "squared": lambda x, s: squared_distance(x, b) + 0 * s,
    }
    inputs = a.requires_grad_(True), SCALE.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(losses[loss], inputs)


def test_name_agreement_is_least_where_names_are_where_the_classifier_says() -> None:
    names = torch.eye(4)
    logits = torch.tensor([[9.0, 1.0, 0.0, -1.0], [0.0, 8.0, 2.0, 1.0]])
    members = torch.arange(4)

    def loss(vectors: torch.Tensor) -> float:
        return name_agreement(vectors, logits, members, names, (4,), scale=60.0, order_weight=3.0).item()

    assert loss(logits) < 0.2 < 3.0 < loss(logits.flip(0))


def test_correlation_is_pearsons() -> None:
    first, second = random(3, 6), random(3, 6, seed=1)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    np.testing.assert_allclose(correlation(first, second).numpy(), expected, rtol=1e-5)
