"""Distillation of tokens: token by token and layer by layer, a student learns what a teacher makes of a text.

Take it first, when the student has most of a teacher's layers and lacks something that sentences' vectors say little
about: learned positions, pieces of a pruned vocabulary. The vectors of all tokens after each layer say nearly all (as
in TinyBERT, Jiao et al. 2020), so a few hundred steps do what thousands against the sentences' vectors did not. Tokens
are compared by segments: where student and teacher cut the text at the same places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.towers.pool import mean_pool
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.step import Figures
from babelclip.train.linear_map import LinearMap
from babelclip.train.objectives.losses import cosine_distance
from babelclip.train.objectives.objective import Context, Drawn, ObjectiveSettings
from babelclip.train.objectives.text_draws import DrawnTexts, TextDraw
from babelclip.train.objectives.token_alignment import Aligner, Segments, piece_lengths, segment_means
from babelclip.train.objectives.token_teacher import TokenTeacher, open_teacher, vocabulary_pieces

MIN_SPREAD = 1e-3  # of a dimension over segments; errors are counted in its spreads
SPREAD_STEPS = 4  # whose segments it is measured on: texts of several lengths


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillTokenSettings(ObjectiveSettings):
    """What the recipe says about a distillation of tokens."""

    kind: Literal["distill_tokens"]
    texts: TextDraw
    teacher: str  # a model folder or its name on the hub, or "file.py:function" beside the recipe
    layers: tuple[int, ...]  # of the teacher, one for each of the student's, from 0
    vectors_weight: float = 2.0  # of the whole text's vector, beside its tokens'
    linear_map: str = ""  # data that whole texts are mapped by before they are compared; none: as they are


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """What the teacher makes of the batch."""

    segments: Segments
    means: Tensor  # (N, L, D) of each segment after each layer that the student has
    wholes: Tensor  # (B, E) of the texts
    mask: Tensor  # (B, T) bool, False where the student's tokens are padding


class TokenDistillation:
    """An ``Objective``. Every process asks the teacher for the whole batch, whose segments the loss needs."""

    towers: tuple[str, ...] = ("text",)
    whole_towers = False

    def __init__(self, settings: DistillTokenSettings, context: Context, recipe_folder: Path, data: Path) -> None:
        self.settings, self._context, self.head = settings, context, nn.Module()
        self.rates: Mapping[str, float] = {}
        self._teacher: TokenTeacher = open_teacher(settings.teacher, recipe_folder)
        self._check_layers(len(context.towers.model.text.blocks))
        self._map = LinearMap.read(data / settings.linear_map) if settings.linear_map else LinearMap.identity()
        self._texts = DrawnTexts(settings.texts, context)
        ours, theirs = context.towers.texts.pieces(), vocabulary_pieces(self._teacher.tokenizer)
        self._align = Aligner(piece_lengths(ours), piece_lengths(theirs))
        first = torch.cat([self._labels(self._texts.draw(step)).means for step in range(SPREAD_STEPS)])
        self._spread = first.std(dim=0).clamp(min=MIN_SPREAD)  # (L, D)

    def _check_layers(self, number: int) -> None:
        layers, theirs = self.settings.layers, self._teacher.num_layers
        if len(layers) != number or not all(0 <= layer < theirs for layer in layers):
            raise ConfigError(
                f"objective {self.settings.name!r}: layers {layers} must name one of the teacher's {theirs} layers for "
                f"each of this tower's {number}"
            )

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Texts of one length, and what the teacher makes of them."""
        numbers = self._texts.draw(step)
        rows = self._texts.token_rows(numbers)
        own = self._texts.own(numbers, group)
        states = self._context.towers.token_states_input(own, len(rows), max(map(len, rows)))
        return Drawn((states,), self._labels(numbers))

    def _labels(self, numbers: NDArray[np.int64]) -> TokenLabels:
        rows = self._texts.token_rows(numbers)
        found = self._teacher([self._texts.texts[row].text for row in numbers], self._context.towers.max_tokens)
        segments = self._align(rows, found.token_ids)
        states = found.states[:, :, list(self.settings.layers)]
        mask = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.bool)
        for row, ids in enumerate(rows):
            mask[row, : len(ids)] = True
        means = segment_means(states, segments.theirs, segments.number)
        return TokenLabels(segments, means, self._whole(states, found.mask), mask)

    def loss(self, vectors: Sequence[Tensor], labels: TokenLabels) -> tuple[Tensor, Figures]:
        """Squared error of the segments in units of their spread, and the distance of the whole texts."""
        (states,), settings = vectors, self.settings
        means = segment_means(states, labels.segments.ours, labels.segments.number)
        by_layer = ((means - labels.means) / self._spread.to(states.device)).pow(2).mean(dim=(0, 2))
        distance = cosine_distance(self._whole(states, labels.mask), labels.wholes)
        figures = {"first": by_layer[0], "last": by_layer[-1], "distance": distance}
        told = {f"{settings.name} {name}": figure.detach() for name, figure in figures.items()}
        return by_layer.mean() + settings.vectors_weight * distance, told

    def _whole(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, L, D) -> vectors of the texts, mapped: (B, E)."""
        return self._map(F.normalize(mean_pool(states[:, :, -1], mask), dim=-1))

    @torch.no_grad()
    def evaluate(self) -> Figures:
        """Mean cosine of held-out texts to the teacher's vectors."""
        found: list[Tensor] = []
        towers = self._context.towers
        for numbers in self._texts.held_out_batches():
            drawn = self._labels(numbers)
            rows = self._texts.token_rows(numbers)
            states = towers.token_states_input(rows, len(rows), max(map(len, rows))).to(towers.device)
            whole = self._whole(towers.encode(states), drawn.mask.to(towers.device))
            found.append(F.cosine_similarity(whole, drawn.wholes.to(towers.device), dim=-1))
        return {f"{self.settings.name} held_out_cosine": torch.cat(found).mean()} if found else {}
