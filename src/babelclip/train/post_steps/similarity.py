"""How alike people find two sentences, learned by one matrix over finished text vectors.

The last dimensions of a distilled tower are mostly noise, and cosines count them as much as the first. A matrix near
the identity, fitted to scored pairs in seconds, mends that better than many steps of the whole tower; it becomes part
of the tower's projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.train.data.text_rows import TextRow
from babelclip.train.objectives.losses import cosent, cosine_distance, matryoshka
from babelclip.train.post_steps.post_step import NewTensors, PostStepContext, text_vectors

_ENGLISH = "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilaritySettings:
    """What the recipe says about it, a ``PostStep``."""

    kind: Literal["similarity"]
    pairs: str  # data of kind text_rows, with scores
    dims: tuple[int, ...]  # widths at which vectors are held
    pairs_per_language: int = 900  # English: all
    steps: int = 400
    batch: int = 256  # pairs of one language
    english_share: float = 0.4  # of the steps
    keep: float = 10.0  # how much vectors are held where they were (1 - cosine)
    learning_rate: float = 2e-3
    seed: int = 0

    def __call__(self, context: PostStepContext) -> NewTensors:
        """The projection's new weight.

        Raises:
            ConfigError: The text tower has no projection.
        """
        projection = context.model.text.projection
        if projection is None:
            raise ConfigError("similarity: this text tower has no projection that a matrix could join")
        pairs = choose_pairs(context.sources.text_rows(self.pairs, scored=True), self)
        texts = [pair.anchor for pair in pairs] + [pair.positive for pair in pairs]
        first, second = F.normalize(text_vectors(context, texts), dim=1).chunk(2)
        scores = torch.tensor([pair.score for pair in pairs])
        linear_map = fit_similarity(first, second, scores, [pair.language for pair in pairs], self)
        weight = projection.weight.detach()  # (E, D): projected v becomes v + v @ turn
        return {"text.projection.weight": weight + linear_map.T.to(weight) @ weight}


def choose_pairs(pairs: Sequence[TextRow], settings: SimilaritySettings) -> list[TextRow]:
    """All English pairs, some of every other language."""
    generator = np.random.default_rng([settings.seed, 8])
    chosen: list[TextRow] = []
    for language in sorted({pair.language for pair in pairs}):
        own = [pair for pair in pairs if pair.language == language]
        number = len(own) if language == _ENGLISH else min(len(own), settings.pairs_per_language)
        chosen += [own[index] for index in np.sort(generator.choice(len(own), number, replace=False))]
    return chosen


def fit_similarity(
    first: Tensor, second: Tensor, scores: Tensor, languages: Sequence[str], settings: SimilaritySettings
) -> Tensor:
    """CoSENT over the mapped vectors of pairs, held near their old places.

    Args:
        first: (N, E).
        second: (N, E).
        scores: (N,) higher for more alike.
        languages: Of each pair.
        settings: Of the fit.

    Returns:
        The matrix minus the identity, (E, E).
    """
    width = first.shape[1]
    linear_map = torch.zeros(width, width, requires_grad=True)
    optimizer = torch.optim.AdamW([linear_map], lr=settings.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    generator = np.random.default_rng([settings.seed, 9])
    of_language = {language: np.flatnonzero(np.array(languages) == language) for language in sorted(set(languages))}
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps)
        is_english = _ENGLISH in of_language and generator.random() < settings.english_share
        language = _ENGLISH if is_english else list(of_language)[int(generator.integers(len(of_language)))]
        members = of_language[language]
        rows = torch.from_numpy(generator.choice(members, min(settings.batch, len(members)), replace=False))
        before = torch.cat([first[rows], second[rows]])
        turned = before + before @ linear_map
        one, two = turned.chunk(2)
        moved = matryoshka(cosine_distance, turned, before, settings.dims)
        loss = cosent(one, two, scores[rows]) + settings.keep * moved
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return linear_map.detach()
