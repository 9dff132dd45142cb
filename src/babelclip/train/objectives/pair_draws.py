"""Pairs for contrasts: an image and a caption, or two texts; with what each row means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from babelclip.errors import ConfigError
from babelclip.train.data.captioned_images import CaptionedImages
from babelclip.train.data.image_sampler import ImageSampler, ViewSettings
from babelclip.train.data.mixture import Mixture
from babelclip.train.data.stored_vectors import StoredVectors
from babelclip.train.data.text_rows import TextRow
from babelclip.train.engine.batch import TowerInput
from babelclip.train.engine.distributed import ProcessGroupInfo, gather_labels
from babelclip.train.objectives.objective import Context, Draw, DrawnImages, keys_of


@dataclass(frozen=True, slots=True)
class DrawnPairs:
    """Both sides of a batch's pairs, and the keys of all processes' rows: (B, 2)."""

    left: TowerInput
    right: TowerInput
    keys: Tensor
    images: DrawnImages | None = None


class ImageDraw:
    """Images of a step.

    Args:
        draw: Sources of images and their weights.
        views: How images are looked at.
        context: Of the stage.
        stored: Vectors of all these images, in place of what the image tower makes of them: none is opened then.
    """

    def __init__(self, draw: Draw, views: ViewSettings, context: Context, stored: StoredVectors | None = None) -> None:
        self.number, self._towers, self._views = next(context.draw_numbers), context.towers, views
        self.batch, self.sources = draw.batch, [context.sources.images(name) for name in draw.sources]
        weights = tuple(draw.sources.values())
        self._sampler = ImageSampler(self.sources, weights, context.seed, self.number, views)
        self._stored = stored

    def draw(self, step: int, group: ProcessGroupInfo) -> tuple[TowerInput, DrawnImages]:
        """This process's share of them."""
        share, towers = group.share(self.batch), self._towers
        rows = range(step * self.batch + share.start, step * self.batch + share.stop)
        if self._stored is not None:
            drawn = self._sampler.draw(rows, towers.reader, lambda view: True)
            vectors = self._stored.of([one.view.image.name for one in drawn])
            return TowerInput("vectors", (vectors,), self.batch), DrawnImages(drawn, self.batch)
        drawn = self._sampler.draw(rows, towers.reader, partial(towers.is_known, self._views))
        rows_of_tower = towers.image_input(drawn, self.batch, towers.positions(step, self.number))
        return rows_of_tower, DrawnImages(drawn, self.batch)


class ImageTextPairs:
    """Captioned images, each with one of its captions."""

    def __init__(self, draw: Draw, views: ViewSettings, context: Context, stored: StoredVectors | None = None) -> None:
        self.towers: tuple[str, ...] = ("image", "text") if stored is None else ("text",)
        self._images = ImageDraw(draw, views, context, stored)
        self._towers, self._device = context.towers, context.device

    @property
    def sources(self) -> Sequence[CaptionedImages]:
        return self._images.sources

    def draw(self, step: int, group: ProcessGroupInfo) -> DrawnPairs:
        images, drawn = self._images.draw(step, group)
        captions = [one.caption for one in drawn.own]
        texts = self._towers.text_input(self._towers.tokenize(captions), drawn.number)
        keys = keys_of([one.view.image.meaning for one in drawn.own], captions)
        return DrawnPairs(images, texts, gather_labels(keys, drawn.number, group, self._device), drawn)


class TextRowDraw:
    """Rows of texts of a step.

    Args:
        draw: Sources of rows and their weights.
        context: Of the stage.
        negatives: How many each row must have.
    """

    def __init__(self, draw: Draw, context: Context, *, negatives: int = 0) -> None:
        self._sources = [context.sources.text_rows(name, negatives=negatives) for name in draw.sources]
        sizes = [len(rows) for rows in self._sources]
        self._mixture = Mixture(sizes, tuple(draw.sources.values()), context.seed + next(context.draw_numbers))
        self.batch = draw.batch

    def draw(self, step: int, group: ProcessGroupInfo) -> list[TextRow]:
        """This process's share of them."""
        share = group.share(self.batch)
        return [self.row(step, position) for position in range(share.start, share.stop)]

    def row(self, step: int, position: int) -> TextRow:
        """The row at a place of a step's batch."""
        source, row = self._mixture.at(step * self.batch + position)
        return self._sources[source][row]


class TextPairs:
    """Texts that belong together."""

    towers: tuple[str, ...] = ("text",)

    def __init__(self, draw: Draw, context: Context) -> None:
        self._rows, self._towers, self._device = TextRowDraw(draw, context), context.towers, context.device

    def draw(self, step: int, group: ProcessGroupInfo) -> DrawnPairs:
        rows, number, towers = self._rows.draw(step, group), self._rows.batch, self._towers
        positives = [row.positive for row in rows]
        left = towers.text_input(towers.tokenize([row.anchor for row in rows]), number)
        right = towers.text_input(towers.tokenize(positives), number)
        return DrawnPairs(left, right, gather_labels(keys_of(positives, positives), number, group, self._device))


class ExtraTexts:
    """More captions of the same images as negatives: cheap where the text tower is frozen."""

    def __init__(self, sources: Sequence[CaptionedImages], number: int, context: Context) -> None:
        self._texts = [
            (image.meaning, text)
            for images in sources
            for image in images
            for texts in image.captions.values()
            for text in texts
        ]
        self._number, self._towers, self._device = number, context.towers, context.device
        self._seed = [context.seed, next(context.draw_numbers), 8]

    def draw(self, step: int, group: ProcessGroupInfo) -> tuple[TowerInput, Tensor]:
        """They and their keys: of all processes, (number, 2)."""
        chosen = np.random.default_rng([*self._seed, step]).integers(len(self._texts), size=self._number)
        own = [self._texts[position] for position in chosen[group.share(self._number)]]
        texts = self._towers.text_input(self._towers.tokenize([text for _, text in own]), self._number)
        keys = keys_of([meaning for meaning, _ in own], [text for _, text in own])
        return texts, gather_labels(keys, self._number, group, self._device)


class ExtraImages:
    """More images of the same sources as negatives: cheap where their vectors are stored or the tower is frozen."""

    def __init__(
        self, draw: Draw, views: ViewSettings, number: int, context: Context, stored: StoredVectors | None = None
    ) -> None:
        self._images = ImageDraw(Draw(sources=draw.sources, batch=number), views, context, stored)
        self._device = context.device

    def draw(self, step: int, group: ProcessGroupInfo) -> tuple[TowerInput, Tensor]:
        """They and their keys: of all processes, (number, 2)."""
        images, drawn = self._images.draw(step, group)
        keys = keys_of([one.view.image.meaning for one in drawn.own], [one.caption for one in drawn.own])
        return images, gather_labels(keys, drawn.number, group, self._device)


def check_captioned(sources: Sequence[CaptionedImages], name: str) -> None:
    """Make sure that every image has a caption to be compared with.

    Raises:
        ConfigError: Some have none.
    """
    bare = [image.where for images in sources for image in images if not any(image.captions.values())]
    if bare:
        raise ConfigError(f"objective {name!r}: {len(bare)} images have no caption, such as {bare[0]}")
