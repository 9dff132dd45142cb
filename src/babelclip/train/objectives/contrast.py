"""Contrast: what belongs together is told from everything else of the batch (CLIP, Radford et al. 2021).

Take it to align images with captions, or texts with texts, from pairs. Several draws stand in one matrix, so that
images compete with texts (the release's unified batch). Images may be vectors that a teacher gave once: so texts learn
the space of another model. Where one tower is frozen (LiT, Zhai et al. 2022), more of its items are cheap negatives.
Equal captions and captions of one image, or of images of one label, are never negatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from babelclip.errors import ConfigError, DatasetError
from babelclip.train.data.image_sampler import ViewSettings
from babelclip.train.data.stored_vectors import StoredVectors
from babelclip.train.engine.distributed import ProcessGroupInfo
from babelclip.train.engine.step import Figures
from babelclip.train.objectives.losses import Directions, by_width, sigmoid_pairs, symmetric_info_nce, weighted_mean
from babelclip.train.objectives.objective import (
    Context,
    Draw,
    Drawn,
    MatryoshkaSettings,
    ObjectiveSettings,
    ScaledHead,
    Temperature,
    by_width_figures,
)
from babelclip.train.objectives.pair_draws import ExtraImages, ExtraTexts, ImageTextPairs, TextPairs, check_captioned


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastSettings(ObjectiveSettings):
    """What the recipe says about a contrast."""

    kind: Literal["contrast"]
    draws: tuple[Draw, ...]  # captioned images, or rows of texts; several stand in one matrix
    loss: Literal["info_nce", "sigmoid"] = "info_nce"
    directions: Directions = "mean"
    temperature: Temperature = Temperature()
    matryoshka: MatryoshkaSettings = MatryoshkaSettings()
    views: ViewSettings = ViewSettings()
    extra_negatives: int = 0  # of the side whose tower is frozen, beside the batch's own
    image_vectors: str = ""  # data of kind vectors: of each image, in place of what the image tower makes of it

    def __post_init__(self) -> None:
        ObjectiveSettings.__post_init__(self)
        if self.image_vectors and self.views != ViewSettings(augment=False, english_share=self.views.english_share):
            raise ConfigError(
                f"objective {self.name!r}: image_vectors are of whole images; give it views = {{ augment = false }}"
            )
        if not self.draws:
            raise ConfigError(f"objective {self.name!r} draws nothing; give it draws")
        if self.extra_negatives and (self.loss != "info_nce" or len(self.draws) > 1):
            raise ConfigError(
                f"objective {self.name!r}: extra_negatives = {self.extra_negatives} goes with loss 'info_nce' and one "
                f"draw, found {self.loss!r} and {len(self.draws)}"
            )


@dataclass(frozen=True, slots=True)
class ContrastLabels:
    """Of the whole batch."""

    keys: Tensor  # (B, 2) what a row is of, and its words
    bank_keys: Tensor  # (B + extra negatives, 2)


class Contrast:
    """An ``Objective``."""

    whole_towers = True

    def __init__(self, settings: ContrastSettings, context: Context) -> None:
        self.settings = settings
        self.head = ScaledHead(settings.temperature, bias=settings.loss == "sigmoid")
        self.rates: Mapping[str, float] = {"log_scale": settings.temperature.rate}
        self._stored = context.sources.vectors(settings.image_vectors) if settings.image_vectors else None
        self._pairs = [self._open(draw, context) for draw in settings.draws]
        self.towers = tuple(dict.fromkeys(tower for pairs in self._pairs for tower in pairs.towers))
        self._extra, self._bank_is_images = self._open_extra(context)

    def _open(self, draw: Draw, context: Context) -> ImageTextPairs | TextPairs:
        kinds = {context.sources.kind(name) for name in draw.sources}
        if kinds == {"text_rows"}:
            return TextPairs(draw, context)
        if kinds <= {"captioned_images", "images"}:
            pairs = ImageTextPairs(draw, self.settings.views, context, self._stored)
            check_captioned(pairs.sources, self.settings.name)
            if self._stored is not None:
                self._require_vectors(self._stored, pairs, context)
            return pairs
        raise ConfigError(
            f"objective {self.settings.name!r}: a contrast draws captioned_images or text_rows, one kind a draw; "
            f"found {', '.join(sorted(kinds))}"
        )

    def _require_vectors(self, stored: StoredVectors, pairs: ImageTextPairs, context: Context) -> None:
        """A vector of every image, as wide as the texts'."""
        width = context.towers.model.config.embed_dim
        if stored.width != width:
            raise DatasetError(f"{stored.name} has vectors of {stored.width} numbers, and the model's have {width}")
        stored.require((image.name for source in pairs.sources for image in source), self.settings.name)

    def _open_extra(self, context: Context) -> tuple[ExtraTexts | ExtraImages | None, bool]:
        settings, pairs, towers = self.settings, self._pairs[0], context.towers
        if not settings.extra_negatives:
            return None, False
        if isinstance(pairs, ImageTextPairs) and towers.text_is_frozen:
            return ExtraTexts(pairs.sources, settings.extra_negatives, context), False
        if isinstance(pairs, ImageTextPairs) and (towers.cut == "tower" or self._stored is not None):
            draw, number = settings.draws[0], settings.extra_negatives
            return ExtraImages(draw, settings.views, number, context, self._stored), True
        raise ConfigError(
            f"objective {settings.name!r}: extra_negatives = {settings.extra_negatives} needs captioned images and one "
            "tower with train = 'frozen', whose vectors are computed once"
        )

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Left and right sides of every draw in turn, then the extra negatives."""
        drawn = [pairs.draw(step, group) for pairs in self._pairs]
        inputs = [side for pairs in drawn for side in (pairs.left, pairs.right)]
        keys = bank_keys = torch.cat([pairs.keys for pairs in drawn])
        if self._extra is not None:
            extra, extra_keys = self._extra.draw(step, group)
            inputs.append(extra)
            bank_keys = torch.cat((keys, extra_keys))
        return Drawn(tuple(inputs), ContrastLabels(keys, bank_keys), drawn[0].images)

    def loss(self, vectors: Sequence[Tensor], labels: ContrastLabels) -> tuple[Tensor, Figures]:
        """Mean over the widths; figures by width, and the scale."""
        settings, number = self.settings, 2 * len(self._pairs)
        left, right = _joined(vectors[0:number:2]), _joined(vectors[1:number:2])
        if self._bank_is_images:
            left, right = right, left
        bank = _joined((right, *vectors[number:]))
        dims = settings.matryoshka.dims or (left.shape[-1],)
        scale = self.head.scale()
        if settings.loss == "info_nce":
            compare = partial(
                symmetric_info_nce,
                keys=labels.keys,
                bank_keys=labels.bank_keys,
                scale=scale,
                directions=settings.directions,
            )
        else:
            assert self.head.bias is not None, "the head of a sigmoid has one"
            compare = partial(sigmoid_pairs, keys=labels.keys, scale=scale, bias=self.head.bias)
        terms = by_width(compare, left, bank, dims)
        figures = by_width_figures(settings.name, dims, terms) | {f"{settings.name} scale": scale.detach()}
        return weighted_mean(terms, settings.matryoshka.dim_weights or None), figures

    def evaluate(self) -> Figures:
        """Nothing of its own: held-out images are measured with the shipped code path (``held_out.py``)."""
        return {}


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """All rows; of a single part no copy, so that gradients of vectors that others share add up in one order."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
