"""Items as the model gets them: checked, counted and priced."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PricedText:
    """A text and its tokens, special ones and its task's instruction included."""

    text: str
    tokens: int
    task: str | None


@dataclass(frozen=True, slots=True)
class PricedImage:
    """The bytes of an image file, its price, and how many pixels are decoded for it."""

    content: bytes
    tokens: int
    pixels: int


Priced = PricedText | PricedImage
