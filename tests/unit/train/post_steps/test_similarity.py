"""The similarity map: cosines follow the scores, vectors stay about where they were."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from babelclip.evaluate.metrics import spearman
from babelclip.train.data.text_rows import TextRow
from babelclip.train.post_steps.similarity import SimilaritySettings, choose_pairs, fit_similarity


def settings_of(**more: float) -> SimilaritySettings:
    return SimilaritySettings(kind="similarity", pairs="scored", **{"dims": (16,), **more})


def noisy_pairs(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors whose first half is about the meaning and whose second half is noise."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(600, 16, generator=generator), torch.randn(600, 16, generator=generator)
    second[:, :8] += torch.rand(600, 1, generator=generator) * 3 * first[:, :8]
    scores = F.cosine_similarity(first[:, :8], second[:, :8], dim=1)
    return F.normalize(first, dim=1), F.normalize(second, dim=1), scores


def test_cosines_follow_the_scores_of_pairs_that_were_not_seen() -> None:
    settings = settings_of(steps=200, batch=128, keep=1.0, dims=(8, 16))
    turn = fit_similarity(*noisy_pairs(0), ["en"] * 300 + ["de"] * 300, settings)
    first, second, scores = noisy_pairs(1)

    def agreement(matrix: torch.Tensor) -> float:
        cosines = F.cosine_similarity(first @ matrix, second @ matrix, dim=1)
        return spearman(scores.numpy(), cosines.numpy())

    assert agreement(torch.eye(16) + turn) > agreement(torch.eye(16)) + 0.05


def test_what_is_held_firmly_stays() -> None:
    pairs, languages = noisy_pairs(0), ["en"] * 600
    loose, firm = (fit_similarity(*pairs, languages, settings_of(steps=50, keep=keep)) for keep in (0.0, 1000.0))
    moved = [(1 - F.cosine_similarity(pairs[0], pairs[0] + pairs[0] @ turn, dim=1)).mean() for turn in (loose, firm)]
    assert moved[1] < 0.2 * moved[0]


def test_english_gives_all_its_pairs() -> None:
    pairs = [TextRow(f"{i}", "x", score=0.5, language=language) for language in ("de", "en") for i in range(20)]
    chosen = choose_pairs(pairs, settings_of(pairs_per_language=7))
    assert [sum(pair.language == language for pair in chosen) for language in ("en", "de")] == [20, 7]
    assert chosen == choose_pairs(pairs, settings_of(pairs_per_language=7))
