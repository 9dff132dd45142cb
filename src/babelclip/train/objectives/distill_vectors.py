"""Distillation of vectors: texts or images are pulled to vectors that something frozen gave.

Take it for translations (to their English original's vector, Reimers & Gurevych 2020), for images (to a teacher's
vectors of them), and for captions or names (to their images' vectors). The loss is cosine distance over Matryoshka
prefixes, perhaps with the relations among the batch (Park et al. 2019). ``anchor`` is the same with another target:
where the tower itself stood when the stage began, so that what else it knows is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.train.data.captioned_images import Captions
from babelclip.train.data.image_sampler import DrawnImage, ViewSettings
from babelclip.train.data.stored_vectors import StoredVectors
from babelclip.train.engine.batch import TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo, gather_labels
from babelclip.train.engine.step import Figures
from babelclip.train.objectives.losses import cosine_distance, matryoshka, relational
from babelclip.train.objectives.objective import (
    Context,
    Draw,
    Drawn,
    MatryoshkaSettings,
    ObjectiveSettings,
)
from babelclip.train.objectives.pair_draws import ImageDraw
from babelclip.train.objectives.text_draws import DrawnTexts, TextDraw


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnSettings(ObjectiveSettings):
    """Which texts or images an objective pulls somewhere: exactly one of three."""

    texts: TextDraw | None = None
    images: Draw | None = None
    images_of: str = ""  # the images of another objective, which are encoded once for both
    views: ViewSettings = ViewSettings()  # of ``images``
    matryoshka: MatryoshkaSettings = MatryoshkaSettings()

    def __post_init__(self) -> None:
        ObjectiveSettings.__post_init__(self)
        given = {"texts": self.texts, "images": self.images, "images_of": self.images_of or None}
        if sum(one is not None for one in given.values()) != 1:
            raise ConfigError(
                f"objective {self.name!r} draws exactly one of {', '.join(given)}; found "
                f"{', '.join(name for name, one in given.items() if one is not None) or 'none'}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillVectorSettings(DrawnSettings):
    """What the recipe says about a distillation of vectors."""

    kind: Literal["distill_vectors"]
    vectors: str  # data of kind vectors; or "captions": for images, the mean of their captions' vectors
    relational_weight: float = 0.0
    relational_temperature: float = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class AnchorSettings(DrawnSettings):
    """What the recipe says about an anchor."""

    kind: Literal["anchor"]


class _Drawing:
    """What distillation and anchor share: their rows, and which process has which."""

    def __init__(self, settings: DrawnSettings, context: Context) -> None:
        self.head = nn.Module()
        self.rates: Mapping[str, float] = {}
        self.stage_towers = context.towers
        self.texts = None if settings.texts is None else DrawnTexts(settings.texts, context)
        self.images = None if settings.images is None else ImageDraw(settings.images, settings.views, context)
        self.towers = ("image",) if self.texts is None else ("text",)

    def draw_texts(self, step: int, group: ProcessGroupInfo) -> tuple[NDArray[np.int64], TowerInput] | None:
        """Numbers of a step's texts, of all processes, and this one's share of them; None where images are drawn."""
        if self.texts is None:
            return None
        numbers = self.texts.draw(step)
        return numbers, self.stage_towers.text_input(self.texts.own(numbers, group), len(numbers))

    def draw_images(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Own images as inputs, or the shared ones without any; labels are still to come."""
        if self.images is not None:
            rows, drawn = self.images.draw(step, group)
            return Drawn((rows,), None, drawn)
        assert shared is not None, "the stage has seen to it"
        return Drawn((), None, shared.images)


class VectorDistillation:
    """An ``Objective``."""

    whole_towers = True

    def __init__(self, settings: DistillVectorSettings, context: Context) -> None:
        self.settings, self._context = settings, context
        self._drawing = _Drawing(settings, context)
        self.head, self.rates, self.towers = self._drawing.head, self._drawing.rates, self._drawing.towers
        self._stored: StoredVectors | None = None
        if settings.vectors != "captions":
            self._stored = context.sources.vectors(settings.vectors)
            self._require(self._stored)
        elif settings.texts is not None:
            raise ConfigError(f"objective {settings.name!r}: vectors = 'captions' goes with images")

    def _require(self, stored: StoredVectors) -> None:
        """Every item's target is there before anything is trained."""
        texts, images = self._drawing.texts, self._drawing.images
        if texts is not None:
            stored.require({one for text in texts.texts for one in text.targets}, self.settings.name)
        elif images is not None:
            stored.require((image.name for source in images.sources for image in source), self.settings.name)

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Texts of one length, or images; labels: (B, E) targets."""
        texts = self._drawing.draw_texts(step, group)
        if texts is not None:
            numbers, rows = texts
            return Drawn((rows,), self._text_targets(numbers))
        drawn = self._drawing.draw_images(step, group, shared)
        assert drawn.images is not None, "a draw of images has some"
        own = self._image_targets(drawn.images.own)
        labels = gather_labels(own, drawn.images.number, group, self._context.device)
        return Drawn(drawn.inputs, labels, drawn.images if drawn.inputs else None)

    def loss(self, vectors: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Figures]:
        """Distance to the targets, and of the batch's relations."""
        settings, (found,) = self.settings, vectors
        targets = labels.to(found.dtype)
        dims = settings.matryoshka.dims or (found.shape[-1],)
        weights = settings.matryoshka.dim_weights or None
        distance = matryoshka(cosine_distance, found, targets, dims, weights)
        figures = {f"{settings.name} distance": distance.detach()}
        if not settings.relational_weight:
            return distance, figures
        relation = partial(relational, temperature=settings.relational_temperature)
        related = matryoshka(relation, found, targets, dims[::-2])
        figures[f"{settings.name} relational"] = related.detach()
        return distance + settings.relational_weight * related, figures

    @torch.no_grad()
    def evaluate(self) -> Figures:
        """Mean cosine of held-out texts to their targets."""
        texts, device = self._drawing.texts, self._context.device
        if texts is None or not len(texts.held_out):
            return {}
        cosines: list[Tensor] = []
        for numbers in texts.held_out_batches():
            rows = self._context.towers.text_input(texts.token_rows(numbers), len(numbers))
            found = self._context.towers.encode(rows.to(device))
            cosines.append(F.cosine_similarity(found, self._text_targets(numbers).to(device)))
        return {f"{self.settings.name} held_out_cosine": torch.cat(cosines).mean()}

    def _text_targets(self, numbers: NDArray[np.int64]) -> Tensor:
        stored, texts = self._stored, self._drawing.texts
        assert stored is not None, "the constructor has seen to it"
        assert texts is not None, "the caller has seen to it"
        return stored.means([texts.texts[row].targets for row in numbers])

    def _image_targets(self, own: Sequence[DrawnImage]) -> Tensor:
        """Of this process's images: (b, E)."""
        if self._stored is not None:
            names = [one.view.image.name for one in own]
            self._stored.require(names, self.settings.name)
            return self._stored.of(names)
        return self._means_of_captions([one.view.image.captions for one in own])

    def _means_of_captions(self, images: Sequence[Captions]) -> Tensor:
        """For each image the mean over languages of the means of their captions' unit vectors: (b, E)."""
        towers = self._context.towers
        flat = [text for captions in images for texts in captions.values() for text in texts]
        vectors = F.normalize(towers.frozen_text_vectors(towers.tokenize(flat)), dim=1)
        of_languages = iter(vectors.split([len(texts) for captions in images for texts in captions.values()]))
        means = [torch.stack([next(of_languages).mean(dim=0) for _ in captions]).mean(dim=0) for captions in images]
        return F.normalize(torch.stack(means), dim=1)


class Anchor:
    """An ``Objective``: items are held where the tower put them when the stage began."""

    whole_towers = True

    def __init__(self, settings: AnchorSettings, context: Context) -> None:
        self.settings, self._context = settings, context
        self._drawing = _Drawing(settings, context)
        self.head, self.rates, self.towers = self._drawing.head, self._drawing.rates, self._drawing.towers
        self._before = copy.copy(context.towers)
        self._before.model = copy.deepcopy(context.towers.model).requires_grad_(False)

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Texts of one length, or images; labels: (B, E) where they stood."""
        texts = self._drawing.draw_texts(step, group)
        if texts is not None:
            _, rows = texts
            return Drawn((rows,), self._stood(rows, group))
        drawn = self._drawing.draw_images(step, group, shared)
        if drawn.inputs:
            return Drawn(drawn.inputs, self._stood(drawn.inputs[0], group), drawn.images)
        assert shared is not None, "the stage has seen to it"
        return Drawn((), self._stood(shared.inputs[0], group))

    @torch.no_grad()
    def _stood(self, rows: TowerInput, group: ProcessGroupInfo) -> Tensor:
        own = self._before.encode(rows.to(self._context.device))
        return gather_labels(own, rows.number, group, self._context.device)

    def loss(self, vectors: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Figures]:
        """How far they have moved from where they stood, (B, E)."""
        settings, (found,) = self.settings, vectors
        dims = settings.matryoshka.dims or (found.shape[-1],)
        return matryoshka(cosine_distance, found, labels, dims, settings.matryoshka.dim_weights or None), {}

    def evaluate(self) -> Figures:
        """Nothing is held out."""
        return {}
