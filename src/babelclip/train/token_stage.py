"""The first text stage: token by token and layer by layer, the student learns what the teacher makes of a text.

A student that has most of the teacher's layers lacks one thing, the learned positions that a rotary tower has no place
for. A sentence's vector says little about how to do without them; the vectors of all its tokens after each layer say
nearly all (as in TinyBERT, Jiao et al. 2020), so a hundred steps do what thousands against the sentences' vectors did
not (lab/LOG.md). Word embeddings stay as they are: what the teacher knows of words that no training text has is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babelclip.towers.pool import mean_pool
from babelclip.towers.text import TextTower
from babelclip.train.batch import Batch, Part
from babelclip.train.data.batches import TextSampler, TokenTable, row_weights
from babelclip.train.data.texts import Row
from babelclip.train.losses import cosine_distance
from babelclip.train.pretrained import SentenceTeacher
from babelclip.train.short_attention import short_attention
from babelclip.train.spread import Ranks
from babelclip.train.target_space import TargetSpace
from babelclip.train.teacher import teacher_states
from babelclip.train.text_stage import HELD_OUT_SEED, held_out_rows, text_part

LEAST_SPREAD = 1e-3  # of a dimension over tokens; errors are counted in its spreads


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSettings:
    """What the recipe says about this stage."""

    group_weights: Mapping[str, float]
    token_budget: int = 4096
    language_temperature: float = 0.6
    english_weight: float = 2.0
    vectors_weight: float = 2.0  # of the whole text's vector, beside its tokens'
    half_precision: bool = True  # bfloat16 autocast
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """What the teacher makes of the batch."""

    states: Tensor  # (B, T, L, D) of the layers that the student has
    mask: Tensor  # (B, T) bool, False where padded


class TeacherTokens:
    """The teacher on the student's token ids, its prefix in front: vectors of the student's tokens alone."""

    def __init__(
        self, teacher: SentenceTeacher, kept_pieces: Sequence[int], prefix: Sequence[int], layers: Sequence[int]
    ) -> None:
        """kept_pieces: the teacher's id of each of ours; prefix: ids of the teacher; layers: whose output is given."""
        self._teacher, self._layers = teacher, tuple(layers)
        self._kept, self._prefix = torch.tensor(kept_pieces), torch.tensor(prefix, dtype=torch.int64)

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor, pad_id: int) -> Tensor:
        """(B, T), the first token of each row being <s> -> (B, T, L, D)."""
        rows, prefix = len(token_ids), len(self._prefix)
        theirs = self._kept[token_ids]
        whole = torch.cat((theirs[:, :1], self._prefix.expand(rows, -1), theirs[:, 1:]), dim=1)
        seen = F.pad(token_ids[:, 1:] != pad_id, (1 + prefix, 0), value=True)
        states = list(teacher_states(self._teacher, whole, seen))
        chosen = torch.stack([states[layer] for layer in self._layers], dim=2)
        return torch.cat((chosen[:, :1], chosen[:, 1 + prefix :]), dim=1)


class TokenStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    def __init__(
        self,
        tower: TextTower,
        teacher: TeacherTokens,
        space: TargetSpace,
        rows: Sequence[Row],
        table: TokenTable,
        settings: TokenSettings,
        name: str = "tokens",
    ) -> None:
        """table: the rows, tokenised for the student; space: where whole texts are compared."""
        self.name, self.module, self.head = name, tower, nn.Module()
        self.rates: Mapping[str, float] = {}
        self._teacher, self._space, self._table, self._settings = teacher, space, table, settings
        assert tower.projection is not None, "the stages after this one need a projection to train"
        tower.embeddings.word.requires_grad_(False)
        tower.projection.requires_grad_(False)  # tokens do not go through it
        weights = row_weights(rows, settings.group_weights, settings.language_temperature, settings.english_weight)
        self._held = held_out_rows(len(rows), HELD_OUT_SEED)
        weights[self._held] = 0.0
        self._sampler = TextSampler(table, weights, settings.token_budget, settings.seed)
        first = self.draw(0, Ranks()).labels
        assert isinstance(first, TokenLabels)
        self._spread = first.states[first.mask].std(dim=0).clamp(min=LEAST_SPREAD)  # (L, D)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Texts of one length, and what the teacher makes of them."""
        part = text_part(self._table.padded(self._sampler.draw(step)), ranks)
        return Batch((part,), self._labels(*part.rows))

    def _labels(self, token_ids: Tensor) -> TokenLabels:
        pad_id = self.module.config.pad_id
        return TokenLabels(self._teacher(token_ids, pad_id).clone(), token_ids != pad_id)

    def encode(self, part: Part) -> Tensor:
        """Token ids (B, T) -> the tokens' vectors after each block: float32 (B, T, L, D)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._settings.half_precision), short_attention():
            return torch.stack(list(self.module.block_outputs(*part.rows)), dim=2).float()

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the tokens in units of their spread, and the distance of the whole texts."""
        labels, (states,) = batch.labels, vectors
        assert isinstance(labels, TokenLabels)
        apart = ((states - labels.states) / self._spread)[labels.mask]  # N L D
        by_layer = apart.pow(2).mean(dim=(0, 2))
        distance = cosine_distance(*(self._whole(side, labels.mask) for side in (states, labels.states)))
        figures = {"first": by_layer[0].item(), "last": by_layer[-1].item(), "distance": distance.item()}
        return by_layer.mean() + self._settings.vectors_weight * distance, figures

    def _whole(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, L, D) -> vectors of the texts in the space: (B, E)."""
        return self._space(F.normalize(mean_pool(states[:, :, -1], mask), dim=-1))

    def finish(self) -> None:
        """What other stages train is trained again; the words stay as they are."""
        assert self.module.projection is not None
        self.module.projection.requires_grad_(True)

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Mean cosine of held-out texts to the teacher's vectors."""
        found = []
        order = self._held[np.argsort(self._table.lengths[self._held])]
        for rows in np.array_split(order, max(1, len(order) // 64)):
            part = text_part(self._table.padded(rows), Ranks())
            labels = self._labels(*part.rows)
            student, teacher = (self._whole(states, labels.mask) for states in (self.encode(part), labels.states))
            found.append(F.cosine_similarity(student, teacher, dim=-1))
        return {"held_out_cosine": torch.cat(found).mean().item()}
