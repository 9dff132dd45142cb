"""Items as the model gets them: checked, counted and priced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ImageContent = bytes | NDArray[np.uint8]
"""The bytes of an image file; or pixels (H, W, 3), which are not decoded once more."""
ItemContent = str | ImageContent
"""What a tower gets."""


@dataclass(frozen=True, slots=True)
class PricedText:
    """A text and its tokens, special ones and its task's instruction included."""

    text: str
    tokens: int
    task: str | None


@dataclass(frozen=True, slots=True)
class PricedImage:
    """An image, its price, and how many pixels are decoded for it."""

    content: ImageContent
    tokens: int
    pixels: int


Priced = PricedText | PricedImage
