"""Scored pairs: of two pairs of texts, the one that people found more alike gets the higher cosine (CoSENT).

Take it for sentence similarity, beside a distillation or a contrast that would otherwise blur it. A batch is of one
language where the rows say theirs, because people score within a language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.step import Figures
from babelclip.train.objectives.losses import by_width, cosent, weighted_mean
from babelclip.train.objectives.objective import (
    Context,
    Draw,
    Drawn,
    MatryoshkaSettings,
    ObjectiveSettings,
    by_width_figures,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredPairSettings(ObjectiveSettings):
    """What the recipe says about scored pairs."""

    kind: Literal["scored_pairs"]
    draws: Draw  # rows of texts with scores; a batch may be smaller, where a language has few
    matryoshka: MatryoshkaSettings = MatryoshkaSettings()


class ScoredPairs:
    """An ``Objective``."""

    towers: tuple[str, ...] = ("text",)
    whole_towers = True

    def __init__(self, settings: ScoredPairSettings, context: Context) -> None:
        self.settings, self.head = settings, nn.Module()
        self.rates: Mapping[str, float] = {}
        self._towers = context.towers
        self._seed = [context.seed, next(context.draw_numbers), 1]
        self._rows = [context.sources.text_rows(name, scored=True) for name in settings.draws.sources]
        self._weights = np.array(list(settings.draws.sources.values())) / sum(settings.draws.sources.values())
        self._of_language = [_by_language([row.language for row in rows]) for rows in self._rows]

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Both sides of some pairs of one language."""
        generator = np.random.default_rng([*self._seed, step])
        source = int(generator.choice(len(self._rows), p=self._weights))
        languages = self._of_language[source]
        members = languages[int(generator.integers(len(languages)))]
        chosen = generator.choice(members, size=min(len(members), self.settings.draws.batch), replace=False)
        rows = [self._rows[source][row] for row in chosen]
        own = rows[group.share(len(rows))]
        sides = [row.anchor for row in own], [row.positive for row in own]
        inputs = tuple(self._towers.text_input(self._towers.tokenize(side), len(rows)) for side in sides)
        return Drawn(inputs, torch.tensor([row.score for row in rows], dtype=torch.float32))

    def loss(self, vectors: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Figures]:
        """Mean over the widths, given the scores, (B,)."""
        first, second = vectors
        dims = self.settings.matryoshka.dims or (first.shape[-1],)
        terms = by_width(lambda a, b: cosent(a, b, labels), first, second, dims)
        figures = by_width_figures(self.settings.name, dims, terms)
        return weighted_mean(terms, self.settings.matryoshka.dim_weights or None), figures

    def evaluate(self) -> Figures:
        """Nothing is held out."""
        return {}


def _by_language(languages: Sequence[str]) -> list[np.ndarray]:
    """Row numbers of each language."""
    array = np.array(languages)
    return [np.flatnonzero(array == language) for language in np.unique(array)]
