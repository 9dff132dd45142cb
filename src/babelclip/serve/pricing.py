"""What a request costs, in tokens: those of its texts, and a price for every tile of an image.

Tokens of texts are what the tokenizer counts. Nothing here is rounded, guessed or stored.

Source of the image price: Jina AI's published price of jina-clip-v2, 4,000 tokens for each tile of 512 x 512 pixels
that an image begins, so 512 x 512 costs 4,000, 720 x 720 costs 16,000 and 1080 x 1080 costs 36,000. It is a price
only: the model looks at every image at one size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TILE_SIDE = 512  # pixels
TOKENS_PER_TILE = 4_000

ImageContent = bytes | NDArray[np.uint8]
"""The bytes of an image file; or pixels (H, W, 3), which are not decoded once more."""
ItemContent = str | ImageContent
"""What a model is given."""


def image_tokens(width: int, height: int) -> int:
    """The price of an image of ``width`` x ``height`` pixels, as its file states them, before any resizing."""
    if width < 1 or height < 1:
        raise ValueError(f"an image has at least one pixel, found {width} x {height}")
    return TOKENS_PER_TILE * _tiles_begun(width) * _tiles_begun(height)


def _tiles_begun(side: int) -> int:
    return -(-side // TILE_SIDE)  # rounded up, in integers


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


PricedItem = PricedText | PricedImage


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one request, or of several together: ``sum(usages, Usage())``."""

    text_tokens: int = 0
    image_tokens: int = 0

    def __post_init__(self) -> None:
        if self.text_tokens < 0 or self.image_tokens < 0:
            raise ValueError(f"tokens are counted from 0, found {self}")

    @property
    def total(self) -> int:
        """What is charged."""
        return self.text_tokens + self.image_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            text_tokens=self.text_tokens + other.text_tokens,
            image_tokens=self.image_tokens + other.image_tokens,
        )


def usage_of(items: Iterable[PricedItem]) -> Usage:
    """What priced items cost together."""
    text = image = 0
    for item in items:
        if isinstance(item, PricedText):
            text += item.tokens
        else:
            image += item.tokens
    return Usage(text_tokens=text, image_tokens=image)
