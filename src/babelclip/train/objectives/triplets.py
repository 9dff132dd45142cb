"""Triplets: a query, its passage, and passages that look right and are not.

Take it last, for retrieval, with negatives mined by ``babelclip mine`` (``hard_negatives``: the release's third stage),
or with a reranker's scores of passage and negatives to learn the order from (``scores``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from babelclip.errors import ConfigError, DatasetError
from babelclip.train.engine.distributed import ProcessGroupInfo, gather_labels
from babelclip.train.engine.step import Figures
from babelclip.train.objectives.losses import (
    Directions,
    by_width,
    hard_negative_info_nce,
    score_divergence,
    weighted_mean,
)
from babelclip.train.objectives.objective import (
    Context,
    Draw,
    Drawn,
    MatryoshkaSettings,
    ObjectiveSettings,
    ScaledHead,
    Temperature,
    by_width_figures,
    keys_of,
)
from babelclip.train.objectives.pair_draws import TextRowDraw


@dataclass(frozen=True, kw_only=True, slots=True)
class TripletSettings(ObjectiveSettings):
    """What the recipe says about triplets."""

    kind: Literal["triplets"]
    draws: Draw
    negatives: int  # of each row
    loss: Literal["hard_negatives", "scores"] = "hard_negatives"
    directions: Directions = "mean"
    temperature: Temperature = Temperature()
    matryoshka: MatryoshkaSettings = MatryoshkaSettings()

    def __post_init__(self) -> None:
        ObjectiveSettings.__post_init__(self)
        if self.negatives < 1:
            raise ConfigError(f"objective {self.name!r}: negatives must be at least 1, found {self.negatives}")


@dataclass(frozen=True, slots=True)
class TripletLabels:
    """Of the whole batch."""

    keys: Tensor  # (B, 1) of the passages
    negative_keys: Tensor  # (B * K, 1)
    scores: Tensor | None  # (B, 1 + K) of a reranker


class Triplets:
    """An ``Objective``."""

    towers: tuple[str, ...] = ("text",)
    whole_towers = True

    def __init__(self, settings: TripletSettings, context: Context) -> None:
        self.settings = settings
        self.head = ScaledHead(settings.temperature)
        self.rates: Mapping[str, float] = {"log_scale": settings.temperature.rate}
        self._rows = TextRowDraw(settings.draws, context, negatives=settings.negatives)
        self._towers, self._device = context.towers, context.device

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Queries, passages, and the negatives of all rows in turn."""
        rows, number, towers = self._rows.draw(step, group), self._rows.batch, self._towers
        passages, negatives = [row.positive for row in rows], self._negatives(step, group)
        sides = [row.anchor for row in rows], passages, negatives
        numbers = number, number, number * self.settings.negatives
        inputs = [towers.text_input(towers.tokenize(side), of) for side, of in zip(sides, numbers, strict=True)]
        keys = gather_labels(keys_of(passages), number, group, self._device)
        negative_keys = gather_labels(keys_of(negatives), numbers[-1], group, self._device)
        scores = None
        if self.settings.loss == "scores":
            if any(len(row.scores) != 1 + self.settings.negatives for row in rows):
                raise DatasetError(f"objective {self.settings.name!r} needs a reranker's scores in every row")
            own = torch.tensor([row.scores for row in rows], dtype=torch.float32)
            scores = gather_labels(own, number, group, self._device)
        return Drawn(tuple(inputs), TripletLabels(keys, negative_keys, scores))

    def _negatives(self, step: int, group: ProcessGroupInfo) -> list[str]:
        """This process's share of all rows' negatives, which may begin or end inside a row."""
        many = self.settings.negatives
        share = group.share(self._rows.batch * many)
        positions = (divmod(position, many) for position in range(share.start, share.stop))
        return [self._rows.row(step, row).negatives[negative] for row, negative in positions]

    def loss(self, vectors: Sequence[Tensor], labels: TripletLabels) -> tuple[Tensor, Figures]:
        """Mean over the widths; figures by width, and the scale."""
        settings, scale = self.settings, self.head.scale()
        queries, passages, flat = vectors
        negatives = flat.unflatten(0, (len(queries), settings.negatives))

        def compare(a: Tensor, b: Tensor) -> Tensor:
            wrong = negatives[..., : a.shape[-1]]
            if labels.scores is None:
                keys = labels.keys, labels.negative_keys
                return hard_negative_info_nce(a, b, wrong, *keys, scale, directions=settings.directions)
            return score_divergence(a, torch.cat((b[:, None], wrong), dim=1), labels.scores, scale)

        dims = settings.matryoshka.dims or (queries.shape[-1],)
        terms = by_width(compare, queries, passages, dims)
        figures = by_width_figures(settings.name, dims, terms) | {f"{settings.name} scale": scale.detach()}
        return weighted_mean(terms, settings.matryoshka.dim_weights or None), figures

    def evaluate(self) -> Figures:
        """Nothing is held out."""
        return {}
