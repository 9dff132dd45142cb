"""Images become pixels: shaped to the model's square, then normalized.

Source of the arithmetic: docs/reference/published-model.md#image-preparation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from babelclip.arrays import ImageBatch
from babelclip.errors import ConfigError
from babelclip.prepare.color_profile import to_srgb
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.large_pictures import taking_turns
from babelclip.prepare.open_image import ImageLimits, ImageSource, open_picture
from babelclip.prepare.resample import RESAMPLING, resize_window

WINDOW_FROM_PIXELS = 8 << 20
"""From this many resized pixels on (32 MB in Pillow) only the window that stays is computed: same pixels."""


@dataclass(frozen=True, slots=True)
class SeenSquare:
    """The square of an image that the model sees."""

    square: NDArray[np.uint8]  # (S, S, 3), before it is normalized
    damage: str | None = None  # what is wrong with its file, where only a part of it could be read


class ImagePreparer:
    """Turns anything that ``open_image`` takes into pixels. Holds no state between calls, so threads may share one."""

    def __init__(
        self,
        config: ImagePrepareConfig,
        limits: ImageLimits | None = None,
        *,
        profile: Literal["ignore", "srgb"] = "ignore",
    ) -> None:
        """How images are prepared.

        Args:
            config: as the model has it.
            limits: what an image may be at most.
            profile: "srgb" heeds color profiles, as viewers do; the published preparation ignores those of RGB.
        """
        _check_config(config)
        self.profile = profile
        self.config = config
        self.limits = limits or ImageLimits()
        # Every value that a channel of a pixel can have, as the model sees it: the float32 arithmetic of the reference,
        # value / 255, minus mean, divided by std, done 768 times instead of once per pixel.
        values = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = np.array(config.mean, dtype=np.float32), np.array(config.std, dtype=np.float32)
        self._seen = (values[None, :] - mean[:, None]) / std[:, None]  # (3, 256) float32

    def __call__(self, source: ImageSource) -> NDArray[np.float32]:
        """Pixels (3, S, S), RGB, normalized.

        Raises:
            ImageError: names the item and the reason.
        """
        return self.normalize(self.crop(source))

    @property
    def pixel_values(self) -> NDArray[np.float32]:
        """What ``normalize`` makes of each value of each channel, for devices of other libraries: (3, 256)."""
        return self._seen

    def upright(self) -> ImagePreparer:
        """The same, but that images are as a viewer shows them: turned, on white paper, in their profile's colors."""
        config = replace(self.config, orientation="upright", alpha="white")
        return ImagePreparer(config, self.limits, profile="srgb")

    def whole_only(self) -> ImagePreparer:
        """The same, but that a damaged image is an error."""
        return ImagePreparer(self.config, replace(self.limits, damaged=False), profile=self.profile)

    def crop(self, source: ImageSource) -> NDArray[np.uint8]:
        """The square that the model sees, before it is normalized: (S, S, 3)."""
        return self.crop_picture(source).square

    def crop_picture(self, source: ImageSource) -> SeenSquare:
        """The square that the model sees, and what was wrong with the image's file.

        Raises:
            ImageError: names the item and the reason.
        """
        config = self.config
        with taking_turns() as wait:
            picture = open_picture(
                source,
                self.limits,
                orientation=config.orientation,
                alpha=config.alpha,
                profile="ignore" if self.profile == "ignore" else "later",
                before_decoding=wait,
            )
            square, profile, damage = shape_to_square(picture.image, config), picture.profile, picture.damage
            del picture  # before its room is given back
        return SeenSquare(np.asarray(to_srgb(square, profile)), damage)

    def normalize(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(S, S, 3) whole numbers -> (3, S, S) as the model sees them."""
        pixels = np.empty((3, *crop.shape[:2]), dtype=np.float32)
        for channel, seen in enumerate(self._seen):
            np.take(seen, crop[..., channel], out=pixels[channel])
        return pixels


def stack(pixels: Sequence[NDArray[np.float32]]) -> ImageBatch:
    """Prepared images (3, S, S) of one size as a batch (B, 3, S, S); at least one."""
    return ImageBatch(pixels=np.stack(pixels))


def shape_to_square(image: Image.Image, config: ImagePrepareConfig) -> Image.Image:
    """An RGB image as a square of the side that the model sees.

    - ``shortest``: the shorter side becomes S, the middle is cut out;
    - ``squash``: both sides become S;
    - ``longest``: the longer side becomes S (the shorter at least 1), centered on a square of the fill's gray.
    """
    side, resampling = config.size, RESAMPLING[config.interpolation]
    if config.resize_mode == "squash":
        return image.resize((side, side), resampling)
    if config.resize_mode == "longest":
        width, height = (max(1, round(side * length / max(image.size))) for length in image.size)
        square = Image.new("RGB", (side, side), (config.fill,) * 3)
        square.paste(image.resize((width, height), resampling), ((side - width) // 2, (side - height) // 2))
        return square
    # The longer side is cut off to a whole number and the offset is rounded half to even: the reference's arithmetic.
    width, height = (int(side * length / min(image.size)) for length in image.size)
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    box = (left, top, left + side, top + side)
    if width * height >= WINDOW_FROM_PIXELS:
        return resize_window(image, (width, height), box, config.interpolation)
    return image.resize((width, height), resampling).crop(box)


def _check_config(config: ImagePrepareConfig) -> None:
    """A configuration may come from a file, so its values are checked here, where they are used."""
    if config.size < 1:
        raise ConfigError(f"the image size must be at least 1 pixel, found {config.size}")
    for name, found, known in (
        ("resize_mode", config.resize_mode, ("shortest", "squash", "longest")),
        ("interpolation", config.interpolation, tuple(RESAMPLING)),
        ("alpha", config.alpha, ("drop", "white")),
        ("orientation", config.orientation, ("ignore", "upright")),
    ):
        if found not in known:
            raise ConfigError(f"unknown {name} {found!r}; known are {', '.join(known)}")
    if len(config.mean) != 3 or len(config.std) != 3 or min(config.std) <= 0:
        raise ConfigError(f"mean and std must be 3 numbers each, std above 0: found {config.mean} and {config.std}")
    if not 0 <= config.fill <= 255:
        raise ConfigError(f"fill must be a gray value from 0 to 255, found {config.fill}")
