"""How alike people find two sentences, learned by one matrix over finished text vectors.

The last dimensions of a distilled tower are mostly noise, and cosines count them as much as the first. A matrix near
the identity, fitted to scored pairs in seconds, mends that better than many steps of the whole tower; it becomes part
of the tower's projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.towers.text import TextTower
from babelclip.train.data.texts import ScoredPair
from babelclip.train.losses import cosent, cosine_distance, matryoshka
from babelclip.train.text_vectors import text_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class LikenessSettings:
    """What the recipe says about it."""

    pairs_per_language: int = 900  # English: all
    steps: int = 400
    batch: int = 256  # pairs of one language
    english_share: float = 0.4  # of the steps
    keep: float = 10.0  # how much vectors are held where they were (1 - cosine)
    learning_rate: float = 2e-3
    seed: int = 0


def learn_likeness(
    tower: TextTower,
    tokenizer: Tokenizer,
    pairs: Sequence[ScoredPair],
    dims: Sequence[int],
    settings: LikenessSettings,
) -> Tensor:
    """The matrix, minus the identity, for ``turn_projection``: (E, E)."""
    chosen = choose_pairs(pairs, settings)
    texts = [pair.first for pair in chosen] + [pair.second for pair in chosen]
    first, second = text_vectors(tower, tokenizer, texts).chunk(2)
    scores = torch.tensor([pair.score for pair in chosen])
    return fit_likeness(first, second, scores, [pair.language for pair in chosen], dims, settings)


def choose_pairs(pairs: Sequence[ScoredPair], settings: LikenessSettings) -> list[ScoredPair]:
    """All English pairs, some of every other language."""
    generator = np.random.default_rng([settings.seed, 8])
    chosen: list[ScoredPair] = []
    for language in sorted({pair.language for pair in pairs}):
        own = [pair for pair in pairs if pair.language == language]
        number = len(own) if language == "en" else min(len(own), settings.pairs_per_language)
        chosen += [own[place] for place in np.sort(generator.choice(len(own), number, replace=False))]
    return chosen


def fit_likeness(
    first: Tensor,
    second: Tensor,
    scores: Tensor,
    languages: Sequence[str],
    dims: Sequence[int],
    settings: LikenessSettings,
) -> Tensor:
    """CoSENT over the turned vectors of pairs, held near their old places: 2 x (N, E), (N,) -> (E, E)."""
    width = first.shape[1]
    turn = torch.zeros(width, width, requires_grad=True)
    optimiser = torch.optim.AdamW([turn], lr=settings.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    generator = np.random.default_rng([settings.seed, 9])
    of_language = {language: np.flatnonzero(np.array(languages) == language) for language in sorted(set(languages))}
    for step in range(settings.steps):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps)
        is_english = "en" in of_language and generator.random() < settings.english_share
        language = "en" if is_english else list(of_language)[int(generator.integers(len(of_language)))]
        members = of_language[language]
        rows = torch.from_numpy(generator.choice(members, min(settings.batch, len(members)), replace=False))
        before = torch.cat([first[rows], second[rows]])
        turned = before + before @ turn
        one, two = turned.chunk(2)
        moved = matryoshka(cosine_distance, turned, before, dims)
        loss = cosent(one, two, scores[rows]) + settings.keep * moved
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return turn.detach()
