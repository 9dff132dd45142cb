"""What an item is: a text or an image, one or many."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Literal

import numpy as np
from PIL import Image

from babelclip.data_uri import is_image_uri

Kind = Literal["text", "image"]

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jif",
        ".pjpeg",
        ".pjpg",
        ".png",
        ".apng",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
        ".avifs",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".heic",
        ".heif",
        ".heics",
        ".heifs",
        ".hif",
    ]
)
"""How names of pictures end that can be opened, those of an extra's decoder too; which format it is, the bytes say."""


def kind_of(item: object) -> Kind:
    """Whether an item is a text or an image.

    Only a str can be a text. It is an image where it is a ``data:image/`` URI or plainly names an image file (an
    image's suffix, and no white space or a path separator): a mistyped ``cat.jpg`` must fail, not become a text.
    """
    if not isinstance(item, str):
        return "image"
    if is_image_uri(item):
        return "image"
    names_file = PurePath(item[-255:]).suffix.lower() in IMAGE_SUFFIXES
    return "image" if names_file and (len(item.split()) == 1 or "/" in item) else "text"


def is_one_text(texts: object) -> bool:
    """Whether a call was given one text instead of several; bytes count as one (wrong) text."""
    return isinstance(texts, str | bytes | bytearray) or not isinstance(texts, Iterable)


def is_one_image(images: object) -> bool:
    """Whether a call was given one image instead of several. An array of four axes, or of one, holds several."""
    if isinstance(images, np.ndarray):
        return images.ndim in (2, 3)
    single = str | PurePath | bytes | bytearray | memoryview | Image.Image
    return isinstance(images, single) or hasattr(images, "read") or not isinstance(images, Iterable)
