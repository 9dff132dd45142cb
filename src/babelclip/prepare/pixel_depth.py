"""Pictures of more than eight bits a channel, as a viewer shows them: the whole range, not its darkest part.

A file of its own, because each mode has its own range, and Pillow's conversion clips all of them at 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339
_ROWS = 1 << 20
"""Pixels that are brought down at a time: the steps between hold eight bytes each."""


def eight_bits(image: Image.Image) -> Image.Image:
    """A decoded gray picture of mode ``I``, ``I;16`` or ``F`` as mode ``L``; any other as it is.

    - 16 bits: 65,535 is white. 32 bits: 65,535 where nothing is above it, else the largest number of 32 bits.
    - floating point: 1 is white where nothing is above it, else 255 where nothing is above that; else the range from
      the smallest to the largest is shown. What is no number is black.
    """
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.asarray(image)
    low, white = _range(image, values)
    shown = np.empty(values.shape, np.uint8)
    step = max(1, _ROWS // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        part = np.nan_to_num(values[start : start + step].astype(np.float64), posinf=white, neginf=low)
        shown[start : start + step] = np.clip(np.rint((part - low) * (255 / (white - low))), 0, 255).astype(np.uint8)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, shown, out=shown)
    result = Image.fromarray(shown)
    result.info = dict(image.info)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        result.info["transparency"] = round((transparent - low) * 255 / (white - low))
    return result


def _range(image: Image.Image, values: NDArray[Any]) -> tuple[float, float]:
    """The values of black and white."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    finite = values[np.isfinite(values)] if image.mode == "F" else values
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if image.mode == "I":
        return 0.0, 65535.0 if most <= 65535 else 2.0**31 - 1
    if least >= 0 and most <= 255:
        return 0.0, 1.0 if most <= 1 else 255.0
    return least, most if most > least else least + 1


def _tag(image: Image.Image, number: int) -> object:
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(number)
