"""Class names against photos: recognition by name agrees with what a classifier says (DIST, Huang et al. 2022).

Take it where a trained classifier's logits of the images are at hand: they speak of all its classes at every image,
captioned or not. Names are vectors of the frozen text tower, in a few languages drawn anew at each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from babelclip.errors import ConfigError, DatasetError
from babelclip.train.data.class_names import ClassNames
from babelclip.train.data.image_sampler import ViewSettings
from babelclip.train.engine.batch import TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo, gather_labels
from babelclip.train.engine.step import Figures
from babelclip.train.objectives.losses import name_agreement
from babelclip.train.objectives.objective import Context, Draw, Drawn, ObjectiveSettings
from babelclip.train.objectives.pair_draws import ImageDraw

_ENGLISH = "en"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassNameSettings(ObjectiveSettings):
    """What the recipe says about class names."""

    kind: Literal["class_names"]
    names: str  # data of kind class_names
    logits: str  # data of kind vectors: what the classifier says of each image, in the order of the names
    images: Draw | None = None
    images_of: str = ""  # or the images of another objective, which are encoded once for both
    views: ViewSettings = ViewSettings()
    languages: int = 2  # of a step, English among them where it is one
    min_share: float = 0.3  # languages that name fewer of the classes are left out
    scale: float = 60.0  # of the cosines: how sharp recognition by name is
    order_weight: float = 4.0  # of the order of all names, beside the probabilities of the likeliest
    dims: tuple[int, ...] = ()  # none: the width of the vectors alone

    def __post_init__(self) -> None:
        ObjectiveSettings.__post_init__(self)
        if (self.images is None) == (not self.images_of):
            raise ConfigError(f"objective {self.name!r} needs images, or images_of another objective: one of them")


@dataclass(frozen=True, slots=True)
class ClassNameLabels:
    """Of the whole batch."""

    logits: Tensor  # (B, classes)
    members: tuple[Tensor, ...]  # of each language drawn: (M,) classes that it names
    names: tuple[Tensor, ...]  # (M, E) their vectors


class ClassNameAgreement:
    """An ``Objective``."""

    towers: tuple[str, ...] = ("image",)
    whole_towers = True

    def __init__(self, settings: ClassNameSettings, context: Context) -> None:
        self.settings, self._context, self.head = settings, context, nn.Module()
        self.rates: Mapping[str, float] = {}
        self._images = None if settings.images is None else ImageDraw(settings.images, settings.views, context)
        self._seed = [context.seed, next(context.draw_numbers), 10]
        self._logits, names = context.sources.vectors(settings.logits), context.sources.class_names(settings.names)
        if self._logits.width != names.number:
            raise DatasetError(
                f"objective {settings.name!r}: {self._logits.name} has {self._logits.width} logits an image, and "
                f"{names.number} classes are named"
            )
        self._names = [self._vectors(by_class) for by_class in _languages(names, settings.min_share)]
        if self._images is not None:
            known = (image.name for source in self._images.sources for image in source)
            self._logits.require(known, settings.name)

    def _vectors(self, by_class: Mapping[int, Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Classes that a language names, and the mean of each one's names: (M,), (M, E)."""
        towers = self._context.towers
        flat = [name for names in by_class.values() for name in names]
        vectors = F.normalize(towers.frozen_text_vectors(towers.tokenize(flat)), dim=1)
        parts = vectors.split([len(names) for names in by_class.values()])
        means = torch.stack([part.sum(dim=0) for part in parts])
        return torch.tensor(list(by_class)), F.normalize(means, dim=1)

    def draw(self, step: int, group: ProcessGroupInfo, shared: Drawn | None) -> Drawn:
        """Images, what the classifier says of them, and languages to name things in."""
        inputs: tuple[TowerInput, ...] = ()
        images = None if shared is None else shared.images
        if self._images is not None:
            rows, images = self._images.draw(step, group)
            inputs = (rows,)
        assert images is not None, "the stage has seen to it"
        names = [one.view.image.name for one in images.own]
        self._logits.require(names, self.settings.name)
        logits = gather_labels(self._logits.of(names), images.number, group, self._context.device)
        generator = np.random.default_rng([*self._seed, step])
        others = generator.permutation(len(self._names) - 1)[: self.settings.languages - 1]
        members, vectors = zip(*(self._names[language] for language in [0, *(1 + others)]), strict=True)
        return Drawn(inputs, ClassNameLabels(logits, members, vectors), images if inputs else None)

    def loss(self, vectors: Sequence[Tensor], labels: ClassNameLabels) -> tuple[Tensor, Figures]:
        """Mean over the languages drawn."""
        settings, (found,) = self.settings, vectors
        dims, logits = settings.dims or (found.shape[-1],), labels.logits.to(found.dtype)
        options = {"scale": settings.scale, "order_weight": settings.order_weight}
        losses = [
            name_agreement(found, logits, members, names.to(found.dtype), dims, **options)
            for members, names in zip(labels.members, labels.names, strict=True)
        ]
        return torch.stack(losses).mean(), {}

    def evaluate(self) -> Figures:
        """Nothing is held out."""
        return {}


def _languages(names: ClassNames, min_share: float) -> list[Mapping[int, Sequence[str]]]:
    """Names of the languages that have enough of them, English first.

    Raises:
        DatasetError: No language has.
    """
    enough = {k: v for k, v in names.by_language.items() if len(v) >= min_share * names.number}
    if not enough:
        raise DatasetError(f"no language names {min_share:.0%} of {names.number} classes")
    return [enough[language] for language in sorted(enough, key=lambda language: (language != _ENGLISH, language))]
