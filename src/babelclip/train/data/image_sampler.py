"""Which images a batch has, which view of each and which caption, and their crops: prepared as for inference.

A broken image costs its row, never the run: another row of its source takes its place, and the image is named once in
``failures``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import ConfigError, DatasetError, ImageError
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import open_image
from babelclip.train.data.augment import augment
from babelclip.train.data.captioned_images import CaptionedImage, CaptionedImages, Captions
from babelclip.train.data.mixture import Mixture

TRIES = 20  # rows looked at for one that can be read
DEGRADED = 0.1  # share of augmented views that lose pixels
_ENGLISH = "en"
Crop = NDArray[np.uint8]
"""The square that the model sees, not normalized: (S, S, 3)."""


@dataclass(frozen=True, slots=True)
class ImageView:
    """One view: what decides on its pixels, besides the image itself and the model's preparation."""

    image: CaptionedImage
    seed: tuple[int, ...] | None  # of the augmentation; None: as at inference


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """A row of a batch."""

    view: ImageView
    crop: Crop | None  # None: what is needed of it is known
    caption: str  # "" where the image has none


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewSettings:
    """How an objective looks at images, and which captions it draws."""

    augment: bool = True
    views: int = 0  # augmented views of an image, the same ones again and again; 0: another view every time
    english_share: float = 0.0  # of captions that are drawn in English where there are some, besides its even turn

    def __post_init__(self) -> None:
        if self.views < 0 or (self.views and not self.augment):
            raise ConfigError(f"views = {self.views} and augment = {self.augment} contradict each other")

    @property
    def come_again(self) -> bool:
        """Whether what is kept of a view is of use once more."""
        return self.views > 0 or not self.augment


class ImageReader:
    """Crops of views, as the model sees them.

    Args:
        preparer: The model's own.
        threads: That read and prepare images.
    """

    def __init__(self, preparer: ImagePreparer, threads: int = 2) -> None:
        self.preparer = preparer
        self.failures: dict[str, str] = {}  # image -> why it could not be read
        self.pool = ThreadPoolExecutor(threads)
        self._digests: dict[str, str] = {}

    def key(self, view: ImageView) -> str:
        """Equal for views of equal pixels, whatever their images are called.

        Raises:
            OSError: The image cannot be read.
        """
        where = view.image.where
        if where not in self._digests:
            self._digests[where] = blake2b(view.image.read(), digest_size=16).hexdigest()
        return f"{self._digests[where]} {view.seed}"

    def crop(self, view: ImageView) -> Crop:
        """The square that the model sees.

        Raises:
            ImageError: It cannot be decoded.
            OSError: It cannot be read.
        """
        config = self.preparer.config
        limits = self.preparer.limits
        opened = open_image(view.image.read(), limits, orientation=config.orientation, alpha=config.alpha)
        if view.seed is not None:
            opened = augment(opened, np.random.default_rng(view.seed), degrade=DEGRADED)
        return self.preparer.crop(opened)


class ImageSampler:
    """Draws images of several sources.

    Args:
        sources: Each with at least one image.
        weights: How often each is drawn.
        seed: Of the run.
        number: Of this sampler among the stage's, so that two of them draw differently.
        settings: How it looks at images.
    """

    def __init__(
        self,
        sources: Sequence[CaptionedImages],
        weights: Sequence[float],
        seed: int,
        number: int,
        settings: ViewSettings,
    ) -> None:
        self._sources, self._settings = sources, settings
        self._mixture = Mixture([len(source) for source in sources], weights, seed + number)
        self._seed = [seed, 5, number]

    def draw(
        self, rows: Sequence[int], reader: ImageReader, is_known: Callable[[ImageView], bool] = lambda view: False
    ) -> list[DrawnImage]:
        """Some rows of the endless stream that batches are cut from; the same whichever process prepares them.

        Raises:
            DatasetError: Many images in turn cannot be read.
        """
        return list(reader.pool.map(lambda row: self._draw_one(row, reader, is_known), rows))

    def _draw_one(self, row: int, reader: ImageReader, is_known: Callable[[ImageView], bool]) -> DrawnImage:
        """Where the image is broken, another row of the same source."""
        generator = np.random.default_rng([*self._seed, row])
        number, index = self._mixture.at(row)
        source = self._sources[number]
        for _ in range(TRIES):
            image = source[index]
            view = self._view(image, row, generator)
            try:
                crop = None if is_known(view) else reader.crop(view)
                return DrawnImage(view, crop, draw_caption(image.captions, generator, self._settings.english_share))
            except (ImageError, OSError) as error:
                reader.failures.setdefault(image.where, str(error))
                index = int(generator.integers(len(source)))
        reason = list(reader.failures.values())[-1]
        raise DatasetError(f"{TRIES} images of one source in turn cannot be read; the last is {image.where}: {reason}")

    def _view(self, image: CaptionedImage, row: int, generator: np.random.Generator) -> ImageView:
        """Chance decides, or which of its few views comes up."""
        if not self._settings.augment:
            return ImageView(image, None)
        name = zlib.crc32(image.name.encode())
        views = self._settings.views
        return ImageView(image, (name, int(generator.integers(views))) if views else (name, row, 1))


def draw_caption(captions: Captions, generator: np.random.Generator, english_share: float) -> str:
    """One caption: English with a given share, else of a language drawn evenly (UForm's balance); "" of none."""
    languages = [language for language, texts in captions.items() if texts]
    if not languages:
        return ""
    english = _ENGLISH in languages and generator.random() < english_share
    texts = captions[_ENGLISH if english else languages[int(generator.integers(len(languages)))]]
    return texts[int(generator.integers(len(texts)))]
