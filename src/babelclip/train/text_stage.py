"""The text stage: a small text tower learns the target space in every language.

Targets are fixed and computed once: a row's target is the mean of its English texts' vectors in the space. The loss is
cosine distance plus relational distillation over Matryoshka prefixes; every few steps a batch of sentence pairs that
people scored keeps the order of likeness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from babelclip.towers.text import TextTower
from babelclip.train.batch import Batch, Part
from babelclip.train.data.batches import BUCKET_EDGES, TextSampler, TokenTable, row_weights, tokenise
from babelclip.train.data.texts import Corpus
from babelclip.train.losses import cosent, cosine_distance, matryoshka, relational
from babelclip.train.short_attention import short_attention
from babelclip.train.spread import Ranks

HELD_OUT_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSettings:
    """What the recipe says about the text stage."""

    group_weights: Mapping[str, float]
    token_budget: int = 4096
    language_temperature: float = 0.5
    english_weight: float = 1.0
    relational_weight: float = 0.5
    relational_temperature: float = 0.05
    pairs_every: int = 4
    pairs_weight: float = 0.1
    pairs_tokens: int | None = None  # of a batch of pairs; None: half of the budget
    words_rate: float = (
        0.0  # learning rate of the word embeddings, as a share of the recipe's; 0: they stay as they are
    )
    half_precision: bool = True  # bfloat16 autocast
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TextLabels:
    """What a batch's vectors should be."""

    targets: Tensor  # (B, E) of the texts
    scores: Tensor | None  # (P,) of the pairs, 0 to 1; None: no pairs in this batch


class TextStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    def __init__(
        self,
        tower: TextTower,
        tokenizer: Tokenizer,
        corpus: Corpus,
        table: TokenTable,
        targets: Tensor,
        dims: Sequence[int],
        settings: TextSettings,
        name: str = "text",
    ) -> None:
        """table: the corpus' rows, tokenised; targets: (len(corpus.english), E), the English texts in the space."""
        self.name = name
        self.rates: Mapping[str, float] = {"embeddings.word.": settings.words_rate}
        self.module = tower
        tower.embeddings.word.requires_grad_(settings.words_rate > 0)
        self.head = nn.Module()  # the losses have nothing to learn
        self._settings = settings
        self._pairs_tokens = settings.pairs_tokens or settings.token_budget // 2
        self._dims = tuple(dims)
        self._targets = targets
        self._pooling = [row.targets for row in corpus.rows]
        self._table = table
        weights = row_weights(
            corpus.rows, settings.group_weights, settings.language_temperature, settings.english_weight
        )
        held = held_out_rows(len(corpus.rows), HELD_OUT_SEED)
        weights[held] = 0.0
        self._held = held
        self._sampler = TextSampler(self._table, weights, settings.token_budget, settings.seed)
        self._pairs = PairTable(tokenizer, corpus)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Texts of one length, and every few steps pairs of one language."""
        rows = self._sampler.draw(step)
        parts = [text_part(self._table.padded(rows), ranks)]
        scores = None
        if self._settings.pairs_every and step % self._settings.pairs_every == 0:
            first, second, scores = self._pairs.draw(step, self._settings.seed, self._pairs_tokens)
            parts += [text_part(first, ranks), text_part(second, ranks)]
        return Batch(tuple(parts), TextLabels(self.row_targets(rows), scores))

    def encode(self, part: Part) -> Tensor:
        """Token ids (B, T) -> float32 (B, E), with the gradient."""
        return encode_token_ids(self.module, *part.rows, half_precision=self._settings.half_precision)

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Distillation of the texts, and the pairs' order where the batch has pairs."""
        settings, labels = self._settings, batch.labels
        assert isinstance(labels, TextLabels)
        texts, *pairs = vectors
        targets = labels.targets.to(texts.dtype)
        distance = matryoshka(cosine_distance, texts, targets, self._dims)
        relation = partial(relational, temperature=settings.relational_temperature)
        related = matryoshka(relation, texts, targets, self._dims[::-2])
        total = distance + settings.relational_weight * related
        figures = {"distance": distance.item(), "relational": related.item(), "rows": float(len(texts))}
        if labels.scores is not None:
            ordered = cosent(pairs[0], pairs[1], labels.scores)
            figures["pairs"] = ordered.item()
            total = total + settings.pairs_weight * ordered
        return total, figures

    def row_targets(self, rows: NDArray[np.int64]) -> Tensor:
        """The mean of each row's English targets: (B, E)."""
        return torch.stack([self._targets[list(self._pooling[row])].mean(dim=0) for row in rows])

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Mean cosine to the target of held-out rows, by group weight."""
        cosines = [
            F.cosine_similarity(self.encode(text_part(self._table.padded(rows), Ranks())), self.row_targets(rows))
            for rows in of_like_length(self._table, self._held)
        ]
        return {"held_out_cosine": torch.cat(cosines).mean().item()}


def text_part(token_ids: NDArray[np.int64], ranks: Ranks) -> Part:
    """A rank's share of some texts: token ids (B, T)."""
    return Part("text", (torch.from_numpy(token_ids[ranks.share(len(token_ids))]),), len(token_ids))


def encode_token_ids(tower: TextTower, token_ids: Tensor, *, half_precision: bool) -> Tensor:
    """Token ids (B, T) -> float32 (B, E), computed in bfloat16 where ``half_precision``."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half_precision), short_attention():
        vectors: Tensor = tower(token_ids)
    return vectors.float() if half_precision else vectors


def held_out_rows(number: int, seed: int, size: int = 1024) -> NDArray[np.int64]:
    """Rows that no text stage trains on, whatever its weights and seed: at most a twentieth of all."""
    size = min(size, number // 20)
    return np.sort(np.random.default_rng([seed, 7]).choice(number, size=size, replace=False))


def of_like_length(table: TokenTable, rows: NDArray[np.int64], size: int = 64) -> list[NDArray[np.int64]]:
    """Rows in groups of about ``size``, short texts first."""
    order = rows[np.argsort(table.lengths[rows])]
    return np.array_split(order, max(1, len(order) // size))


class PairTable:
    """Scored sentence pairs, tokenised; a batch is of one language."""

    def __init__(self, tokenizer: Tokenizer, corpus: Corpus) -> None:
        self._first = tokenise(tokenizer, [pair.first for pair in corpus.pairs])
        self._second = tokenise(tokenizer, [pair.second for pair in corpus.pairs])
        self._scores = np.array([pair.score for pair in corpus.pairs], dtype=np.float32)
        languages = np.array([pair.language for pair in corpus.pairs])
        self._of_language = [np.flatnonzero(languages == language) for language in np.unique(languages)]

    def draw(self, step: int, seed: int, token_budget: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
        """Token ids of both sides, padded to one length, and the scores."""
        generator = np.random.default_rng([seed, step, 1])
        members = self._of_language[int(generator.integers(len(self._of_language)))]
        rows = generator.choice(members, size=min(len(members), max(8, token_budget // 40)), replace=False)
        longest = self._first.lengths[rows] + self._second.lengths[rows]
        rows = rows[longest < 2 * BUCKET_EDGES[-8]]  # a few very long pairs would pad all others
        first, second = self._first.padded(rows), self._second.padded(rows)
        length = max(first.shape[1], second.shape[1])
        both = [np.pad(side, ((0, 0), (0, length - side.shape[1])), constant_values=1) for side in (first, second)]
        return both[0], both[1], torch.from_numpy(self._scores[rows])
