"""A window of a resized image, without resizing the rest.

An image of 1 x 20,000 pixels grows to 512 x 10,240,000 before the middle is cut out of it. ``resize_window`` gives the
pixels of that cut, bit for bit, from the few source pixels that it depends on.

Pillow's own ``resize(box=...)`` cannot: it takes the box in single precision, which shifts the sampling positions and
changes pixels. So the one pass that has a window is computed here as Pillow 13 defines it (its filters for images
being reduced are widened; weights are fixed-point numbers of 22 bits; each of the two passes rounds to 8 bits).
The other pass is left to Pillow. Tests compare the result with resize-then-crop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from babelclip.prepare.config import Interpolation

_WEIGHT_ONE = 1 << 22  # Pillow's weight 1.0: 32 bits less 8 of the pixel and 2 of room for negative lobes

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution (1981) with a = -0.5, in the order of operations that decides the last bit."""
    a = -0.5
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


_FILTERS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]] = {
    "bicubic": (_bicubic, 2.0),
    "bilinear": (_bilinear, 1.0),
}


def resize_window(
    image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int], interpolation: Interpolation
) -> Image.Image:
    """``image.resize(size).crop(box)`` of an RGB image, computed from the needed part of it alone.

    ``size`` is (width, height) of the whole resized image, ``box`` the (left, top, right, bottom) to keep, inside it.
    """
    (width, height), (new_width, new_height) = image.size, size
    left, top, right, bottom = box
    # Pillow 13 takes the vertical pass first where the height shrinks by more than twice what the width does.
    vertical_first = new_height < height and height - new_height > 2 * (width - new_width)

    x_taps = _Taps(width, new_width, left, right, interpolation)
    y_taps = _Taps(height, new_height, top, bottom, interpolation)
    image = image.crop((x_taps.start, y_taps.start, x_taps.stop, y_taps.stop))
    if vertical_first:
        return _resample_columns(_resample_rows(image, y_taps), x_taps)
    return _resample_rows(_resample_columns(image, x_taps), y_taps)


class _Taps:
    """Which source positions, with which weights, make the positions ``first`` to ``last`` of one resized axis."""

    def __init__(self, length: int, new_length: int, first: int, last: int, interpolation: Interpolation) -> None:
        self.is_whole = first == 0 and last == new_length
        self.is_copy = length == new_length
        self.interpolation = interpolation
        self.count = last - first
        self._scale = length / new_length
        self._length = length
        self._first = first
        if self.is_whole:
            self.start, self.stop = 0, length
        elif self.is_copy:
            self.start, self.stop = first, last
        else:
            self.start, self.stop = self._support(first)[0], self._support(last - 1)[1]

    def weights(self) -> NDArray[np.float64]:
        """(count, stop - start) whole numbers, in units of 1 / _WEIGHT_ONE."""
        curve = _FILTERS[self.interpolation][0]
        widening = max(self._scale, 1.0)
        matrix = np.zeros((self.count, self.stop - self.start))
        for row in range(self.count):
            low, high, center = self._support(self._first + row)
            raw = curve((np.arange(low, high, dtype=np.float64) - center + 0.5) * (1.0 / widening))
            raw = raw / float(np.cumsum(raw)[-1])  # summed one after the other, as Pillow does; np.sum would pair them
            matrix[row, low - self.start : high - self.start] = np.trunc(raw * _WEIGHT_ONE + np.copysign(0.5, raw))
        return matrix

    def _support(self, position: int) -> tuple[int, int, float]:
        """The source range of one resized position, and its center in the source."""
        reach = _FILTERS[self.interpolation][1] * max(self._scale, 1.0)
        center = (position + 0.5) * self._scale
        return max(int(center - reach + 0.5), 0), min(int(center + reach + 0.5), self._length), center


def _resample_rows(image: Image.Image, taps: _Taps) -> Image.Image:
    """The vertical pass; ``image`` is already cut to the rows that ``taps`` needs."""
    if taps.is_copy:
        return image
    if taps.is_whole:
        return image.resize((image.width, taps.count), RESAMPLING[taps.interpolation])
    pixels = np.asarray(image)  # (rows, columns, 3)
    # Whole numbers below 2**53: float64 products and sums are exact, in any order.
    sums = taps.weights() @ pixels.reshape(len(pixels), -1).astype(np.float64)
    rounded = np.floor((sums + _WEIGHT_ONE // 2) / _WEIGHT_ONE)
    return Image.fromarray(rounded.clip(0, 255).astype(np.uint8).reshape(taps.count, *pixels.shape[1:]))


def _resample_columns(image: Image.Image, taps: _Taps) -> Image.Image:
    """The horizontal pass; ``image`` is already cut to the columns that ``taps`` needs."""
    if taps.is_copy:
        return image
    if taps.is_whole:
        return image.resize((taps.count, image.height), RESAMPLING[taps.interpolation])
    flipped = _resample_rows(image.transpose(Image.Transpose.TRANSPOSE), taps)
    return flipped.transpose(Image.Transpose.TRANSPOSE)
