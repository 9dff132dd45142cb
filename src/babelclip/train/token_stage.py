"""The first text stage: token by token and layer by layer, the student learns what the teacher makes of a text.

A student that has most of the teacher's layers lacks two things: the learned positions, which a rotary tower has no
place for, and the pieces that its pruned vocabulary has not. A sentence's vector says little about how to do without
them; the vectors of all its tokens after each layer say nearly all (as in TinyBERT, Jiao et al. 2020), so a few hundred
steps do what thousands against the sentences' vectors did not (lab/LOG.md). Tokens are compared by segments: where
student and teacher cut the text at the same places. Word embeddings stay as they are: what the teacher knows of words
that no training text has is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from babelclip.towers.pool import mean_pool
from babelclip.towers.text import TextBlock, TextTower
from babelclip.train.batch import Batch, Part
from babelclip.train.data.batches import BUCKET_EDGES, TextSampler, TokenTable, row_weights
from babelclip.train.data.texts import Row
from babelclip.train.losses import cosine_distance
from babelclip.train.pretrained import SentenceTeacher
from babelclip.train.segments import Aligner, Segments, piece_lengths, segment_means
from babelclip.train.short_attention import short_attention
from babelclip.train.spread import Ranks
from babelclip.train.target_space import TargetSpace
from babelclip.train.teacher import PREFIX, teacher_states
from babelclip.train.text_stage import HELD_OUT_SEED, held_out_rows, of_like_length, text_part
from babelclip.train.vocabulary import encode_ids

BOS, PAD, EOS = 0, 1, 2
LEAST_SPREAD = 1e-3  # of a dimension over segments; errors are counted in its spreads


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

    segments: Segments
    means: Tensor  # (N, L, D) of each segment after each layer that the student has
    wholes: Tensor  # (B, E) of the texts, in the space
    mask: Tensor  # (B, T) bool, False where the student's tokens are padding


class TeacherTokens:
    """The teacher on texts as it would cut them, its prefix in front."""

    def __init__(self, teacher: SentenceTeacher, tokenizer: Tokenizer, layers: Sequence[int]) -> None:
        """tokenizer: the teacher's own; layers: whose output is given."""
        self._teacher, self.tokenizer, self._layers = teacher, tokenizer, tuple(layers)
        self._prefix = next(iter(encode_ids(tokenizer, [PREFIX.strip()])))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with <s> and </s>, cut to what the student sees at most."""
        most = BUCKET_EDGES[-1] - 2
        return [[BOS, *ids[:most], EOS] for ids in encode_ids(self.tokenizer, texts)]

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows of ``ids`` -> their states without the prefix's (B, T, L, D), and which are tokens (B, T)."""
        prefix = len(self._prefix)
        longest = max(map(len, rows))
        whole = torch.tensor([[row[0], *self._prefix, *row[1:], *[PAD] * (longest - len(row))] for row in rows])
        mask = whole != PAD
        states = list(teacher_states(self._teacher, whole, mask))
        chosen = torch.stack([states[layer] for layer in self._layers], dim=2)
        without = torch.cat((chosen[:, :1], chosen[:, 1 + prefix :]), dim=1)
        return without, torch.cat((mask[:, :1], mask[:, 1 + prefix :]), dim=1)


class TokenStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    def __init__(
        self,
        tower: TextTower,
        tokenizer: Tokenizer,
        teacher: TeacherTokens,
        space: TargetSpace,
        rows: Sequence[Row],
        table: TokenTable,
        settings: TokenSettings,
        name: str = "tokens",
    ) -> None:
        """tokenizer, table: the student's, and the rows in it; space: where whole texts are compared."""
        self.name, self.module, self.head = name, tower, nn.Module()
        self.rates: Mapping[str, float] = {}
        self._teacher, self._space, self._rows, self._table, self._settings = teacher, space, rows, table, settings
        self._align = Aligner(piece_lengths(tokenizer), piece_lengths(teacher.tokenizer))
        assert tower.projection is not None, "the stages after this one need a projection to train"
        tower.embeddings.word.requires_grad_(False)
        tower.projection.requires_grad_(False)  # tokens do not go through it
        weights = row_weights(rows, settings.group_weights, settings.language_temperature, settings.english_weight)
        self._held = held_out_rows(len(rows), HELD_OUT_SEED)
        weights[self._held] = 0.0
        self._sampler = TextSampler(table, weights, settings.token_budget, settings.seed)
        first = self.draw(0, Ranks()).labels
        assert isinstance(first, TokenLabels)
        self._spread = first.means.std(dim=0).clamp(min=LEAST_SPREAD)  # (L, D)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Texts of one length, and what the teacher makes of them. On one process: ranks share no segments."""
        return self._batch(self._sampler.draw(step))

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        token_ids = self._table.padded(rows)
        theirs = self._teacher.ids([self._rows[row].text for row in rows])
        segments = self._align([ids[ids != PAD].tolist() for ids in token_ids], theirs)
        states, is_token = self._teacher(theirs)
        wholes = self._whole(states, is_token)
        means = segment_means(states, segments.theirs, segments.number)
        part = text_part(token_ids, Ranks())
        return Batch((part,), TokenLabels(segments, means.clone(), wholes.clone(), part.rows[0] != PAD))

    def encode(self, part: Part) -> Tensor:
        """Token ids (B, T) -> the tokens' vectors after each block: float32 (B, T, L, D)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._settings.half_precision), short_attention():
            return torch.stack(list(self.module.block_outputs(*part.rows)), dim=2).float()

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the segments in units of their spread, and the distance of the whole texts."""
        labels, (states,) = batch.labels, vectors
        assert isinstance(labels, TokenLabels)
        means = segment_means(states, labels.segments.ours, labels.segments.number)
        by_layer = ((means - labels.means) / self._spread).pow(2).mean(dim=(0, 2))
        distance = cosine_distance(self._whole(states, labels.mask), labels.wholes)
        figures = {"first": by_layer[0].item(), "last": by_layer[-1].item(), "distance": distance.item()}
        return by_layer.mean() + self._settings.vectors_weight * distance, figures

    def _whole(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, T, L, D) -> vectors of the texts in the space: (B, E)."""
        return self._space(F.normalize(mean_pool(states[:, :, -1], mask), dim=-1))

    @torch.no_grad()
    def finish(self) -> None:
        """Make the space the tower's output, and its projection trainable again; the words stay as they are.

        The space centres unit vectors, and the tower projects pooled vectors as they are. Those are nearly of one
        length, so a multiple of the space's mean taken off the last norm's bias does the same.
        """
        projection, last = self.module.projection, self.module.blocks[-1]
        assert projection is not None
        assert isinstance(last, TextBlock)
        lengths = [
            mean_pool(self.module.token_vectors(ids), ids != PAD).norm(dim=-1)
            for ids in (torch.from_numpy(self._table.padded(rows)) for rows in of_like_length(self._table, self._held))
        ]
        last.norm2.bias.sub_(torch.cat(lengths).mean() * self._space.mean)
        projection.weight.copy_(self._space.matrix.T)
        projection.requires_grad_(True)

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Mean cosine of held-out texts to the teacher's vectors."""
        found = []
        for rows in of_like_length(self._table, self._held):
            batch = self._batch(rows)
            whole = self._whole(self.encode(batch.parts[0]), batch.labels.mask)
            found.append(F.cosine_similarity(whole, batch.labels.wholes, dim=-1))
        return {"held_out_cosine": torch.cat(found).mean().item()}
