"""The matrix of likeness: cosines follow the scores, vectors stay about where they were."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from babelclip.evaluate.metrics import spearman
from babelclip.train.data.texts import ScoredPair
from babelclip.train.likeness import LikenessSettings, choose_pairs, fit_likeness


def noisy_pairs(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors whose first half is about the meaning and whose second half is noise."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(600, 16, generator=generator), torch.randn(600, 16, generator=generator)
    second[:, :8] += torch.rand(600, 1, generator=generator) * 3 * first[:, :8]
    scores = F.cosine_similarity(first[:, :8], second[:, :8], dim=1)
    return F.normalize(first, dim=1), F.normalize(second, dim=1), scores


def test_cosines_follow_the_scores_of_pairs_that_were_not_seen() -> None:
    settings = LikenessSettings(steps=200, batch=128, keep=1.0)
    turn = fit_likeness(*noisy_pairs(0), ["en"] * 300 + ["de"] * 300, (8, 16), settings)
    first, second, scores = noisy_pairs(1)

    def agreement(matrix: torch.Tensor) -> float:
        cosines = F.cosine_similarity(first @ matrix, second @ matrix, dim=1)
        return spearman(scores.numpy(), cosines.numpy())

    assert agreement(torch.eye(16) + turn) > agreement(torch.eye(16)) + 0.05


def test_what_is_held_firmly_stays() -> None:
    pairs, languages = noisy_pairs(0), ["en"] * 600
    loose, firm = (
        fit_likeness(*pairs, languages, (16,), LikenessSettings(steps=50, keep=keep)) for keep in (0.0, 1000.0)
    )
    moved = [(1 - F.cosine_similarity(pairs[0], pairs[0] + pairs[0] @ turn, dim=1)).mean() for turn in (loose, firm)]
    assert moved[1] < 0.2 * moved[0]


def test_english_gives_all_its_pairs() -> None:
    pairs = [ScoredPair(f"{i}", "x", language, 0.5) for language in ("de", "en") for i in range(20)]
    chosen = choose_pairs(pairs, LikenessSettings(pairs_per_language=7))
    assert [sum(pair.language == language for pair in chosen) for language in ("en", "de")] == [20, 7]
    assert chosen == choose_pairs(pairs, LikenessSettings(pairs_per_language=7))
