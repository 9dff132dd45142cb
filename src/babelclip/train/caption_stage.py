"""The caption stage: the text tower's upper layers learn from images that stand still.

Locked-image tuning as published (LiT, Zhai et al. 2022): the image stages bring images to where the texts are, this one
brings captions to where the images are. Texts of every other kind are held where they were, by the tower's own
vectors from before the stage, and scored pairs keep their order; only captions may move.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from babelclip.towers.text import TextTower
from babelclip.train.batch import Batch, Part
from babelclip.train.data.batches import TextSampler, TokenTable, row_weights, tokenise
from babelclip.train.data.texts import Corpus
from babelclip.train.features import FeatureStore
from babelclip.train.losses import bank_info_nce, cosent, cosine_distance, matryoshka, same_key
from babelclip.train.photo_draw import PhotoDraw, recall_of_owners, texts_and_owners
from babelclip.train.spread import Ranks
from babelclip.train.still_images import StillImages
from babelclip.train.text_bank import TextBank
from babelclip.train.text_stage import PairTable, encode_token_ids, text_part
from babelclip.train.text_vectors import text_vectors

PIECES = 3  # a batch's captions are padded in as many groups of like length


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionSettings:
    """What the recipe says about the caption stage."""

    batch_size: int = 200  # captions, each of another photo
    bank_size: int = 4096  # images as negatives besides the batch's own
    views: int = 3  # of a captioned photo
    english_share: float = 0.6
    upper_layers: int = 3  # of the text tower, trained with its projection
    first_scale: float = 50.0  # of the contrastive loss; learned
    scale_rate: float = 5.0  # its learning rate, as a share of the recipe's
    source_weights: Mapping[str, float] = field(default_factory=dict)  # how often, where not 1
    held_weight: float = 8.0  # of the distance that other texts moved
    held_tokens: int = 2048
    held_groups: Mapping[str, float] = field(default_factory=dict)  # groups of texts that are held, weights
    language_temperature: float = 0.6
    english_weight: float = 2.0
    pairs_every: int = 3
    pairs_weight: float = 0.1
    pairs_tokens: int = 1024
    half_precision: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CaptionLabels:
    """What a batch of captions is compared with."""

    images: Tensor  # (B + bank size, E): the captions' own, in order, then others
    meanings: NDArray[np.int64]  # (B,) of the captions
    image_meanings: NDArray[np.int64]  # (B + bank size,)
    held: Tensor  # (H, E): where other texts were before the stage
    scores: Tensor | None  # (P,) of the pairs; None: no pairs in this batch


class CaptionStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    def __init__(
        self,
        tower: TextTower,
        tokenizer: Tokenizer,
        images: StillImages,
        store: FeatureStore,
        bank: TextBank,
        corpus: Corpus,
        table: TokenTable,
        held_out: Collection[str],
        dims: Sequence[int],
        settings: CaptionSettings,
        name: str = "captions",
    ) -> None:
        """table: the corpus' rows, tokenised."""
        self.name = name
        self._before = copy.deepcopy(tower).eval().requires_grad_(False)
        self.module = train_upper_layers(tower, settings.upper_layers)
        self.head = Temperature(settings.first_scale)
        self.rates: Mapping[str, float] = {"log_scale": settings.scale_rate}
        self._tokenizer, self.images, self._store, self._bank = tokenizer, images, store, bank
        self._settings, self._dims = settings, tuple(dims)
        self._captions = tokenise(tokenizer, [text.text for text in bank.texts])
        self._photo_meanings = np.array([bank.meanings[texts[0][0]] if texts else -1 for texts in bank.photo_texts])
        has_caption = np.array([record.kind == "caption" for record in store.records])
        captioned = images.rows[has_caption[store.photos[images.rows]]]
        self._draw = PhotoDraw(store, bank, held_out, settings.source_weights, captioned)
        self._negatives = PhotoDraw(store, bank, held_out, {}, images.rows)
        weights = row_weights(corpus.rows, settings.held_groups, settings.language_temperature, settings.english_weight)
        self._held_table = table
        self._held = TextSampler(table, weights, settings.held_tokens, settings.seed)
        self._pairs = PairTable(tokenizer, corpus)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Captions by length in a few parts, texts to be held, and every few steps scored pairs."""
        settings, store = self._settings, self._store
        generator = np.random.default_rng([settings.seed, step])
        rows = self._draw.rows(settings.batch_size, generator)
        rows = rows[np.unique(store.photos[rows], return_index=True)[1]]
        places = self._bank.draw(store.photos[rows], generator, settings.english_share)
        by_length = np.argsort(self._captions.lengths[places], kind="stable")
        rows, places = rows[by_length], places[by_length]
        others = self._negatives.rows(settings.bank_size, generator)
        groups = [self._captions.padded(group) for group in np.array_split(places, PIECES)]
        held = self._held_table.padded(self._held.draw(step))
        texts, scores = [*groups, held], None
        if settings.pairs_every and step % settings.pairs_every == 0:
            first, second, scores = self._pairs.draw(step, settings.seed, settings.pairs_tokens)
            texts += [first, second]
        parts = tuple(text_part(token_ids, ranks) for token_ids in texts)
        all_rows = np.concatenate([rows, others])
        with torch.inference_mode():
            before = encode_token_ids(self._before, torch.from_numpy(held), half_precision=settings.half_precision)
        labels = CaptionLabels(
            self.images.of(all_rows),
            self._bank.meanings[places],
            self._photo_meanings[store.photos[all_rows]],
            before.clone(),
            scores,
        )
        return Batch(parts, labels)

    def encode(self, part: Part) -> Tensor:
        """Token ids (B, T) -> float32 (B, E), with the gradient."""
        return encode_token_ids(self.module, *part.rows, half_precision=self._settings.half_precision)

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Contrast of captions with images, the distance that other texts moved, the order of pairs."""
        settings, labels = self._settings, batch.labels
        assert isinstance(labels, CaptionLabels)
        held, *pairs = vectors[PIECES:]
        contrast = self._contrast(torch.cat(list(vectors[:PIECES])), labels)
        moved = matryoshka(cosine_distance, held, labels.held, self._dims)
        loss = contrast + settings.held_weight * moved
        figures = {"contrast": contrast.item(), "moved": moved.item(), "scale": self.head.log_scale.exp().item()}
        if labels.scores is not None:
            ordered = cosent(pairs[0], pairs[1], labels.scores)
            figures["pairs"] = ordered.item()
            loss = loss + settings.pairs_weight * ordered
        return loss, figures

    def _contrast(self, texts: Tensor, labels: CaptionLabels) -> Tensor:
        """InfoNCE both ways; captions see all images, images the captions of the batch."""
        ignored = same_key(torch.from_numpy(labels.meanings), torch.from_numpy(labels.image_meanings))
        loss = partial(bank_info_nce, ignored=ignored, scale=self.head.log_scale.exp())
        return matryoshka(loss, texts, labels.images, self._dims)

    def evaluate(self) -> dict[str, float]:
        """Recall of held-out photos by their own captions, English and others, at 5."""
        rows = np.intersect1d(self._draw.held_rows, self.images.rows)
        if not len(rows):
            return {}
        images, figures = self.images.of(rows), {}
        for name, (places, owners) in texts_and_owners(self._bank, self._store.photos[rows]).items():
            texts = [self._bank.texts[place].text for place in places]
            vectors = text_vectors(self.module, self._tokenizer, texts, half_precision=self._settings.half_precision)
            figures[f"recall_{name}"] = recall_of_owners(vectors, images, owners)
        return figures


class Temperature(nn.Module):
    """All that the contrast itself has to learn."""

    def __init__(self, first_scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(first_scale))))


def train_upper_layers(tower: TextTower, number: int) -> TextTower:
    """Freeze a text tower but for its last blocks and its projection."""
    tower.requires_grad_(False)
    for block in tower.blocks[len(tower.blocks) - number :]:
        block.requires_grad_(True)
    assert tower.projection is not None, "a tower without a projection has nothing to turn its vectors with"
    tower.projection.requires_grad_(True)
    return tower
