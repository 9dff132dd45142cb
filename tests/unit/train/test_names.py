"""Recognition by name against a classifier: what the loss asks for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from babelclip.train.names import correlation, name_loss


def test_correlation_is_pearsons() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(5, 30), torch.randn(5, 30)
    expected = [float(torch.corrcoef(torch.stack(rows))[0, 1]) for rows in zip(first, second, strict=True)]
    assert correlation(first, second).tolist() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(correlation(first * 3 + 7, second), correlation(first, second))


def test_the_loss_is_cross_entropy_and_order_over_the_named_classes_alone() -> None:
    torch.manual_seed(0)
    vectors, logits, members, names = torch.randn(3, 8), torch.randn(3, 6), torch.tensor([0, 2, 5]), torch.randn(3, 8)
    total = 0.0
    for dim in (8, 4):
        for row in range(3):
            cosines = torch.stack([F.cosine_similarity(vectors[row, :dim], name[:dim], dim=0) for name in names])
            logs = torch.log_softmax(cosines * 20, dim=0)
            entropy = -sum(logits[row].softmax(0)[member] * logs[place] for place, member in enumerate(members))
            order = 1 - torch.corrcoef(torch.stack([cosines, logits[row, members]]))[0, 1]
            total += float(entropy + 3 * order) / 6
    found = name_loss(vectors, logits, members, names, (8, 4), scale=20.0, order_weight=3.0)
    assert float(found) == pytest.approx(total, abs=1e-5)


def test_classes_without_a_name_in_the_language_do_not_count() -> None:
    torch.manual_seed(0)
    vectors, names, members = torch.randn(2, 8), torch.randn(2, 8), torch.tensor([1, 2])
    logits = torch.tensor([[0.0, 1.0, 2.0, 30.0], [1.0, 0.0, 2.0, 30.0]])
    loss = name_loss(vectors, logits, members, names, (8,), scale=20.0, order_weight=0.0)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
