"""Small pictures of photos, upright."""

from __future__ import annotations

import io
from pathlib import Path

from babelclip.prepare.open_image import DEFAULT_LIMITS, open_image, read_file
from babelclip.search.optional_formats import heif_image
from babelclip.search.walk import HEIF_SUFFIXES

SIDE = 320
"""Pixels of the longer side."""


def thumbnail(path: Path, side: int = SIDE) -> bytes:
    """A WebP picture of a photo. Raises: ImageError."""
    if path.suffix.lower() in HEIF_SUFFIXES:
        image = heif_image(read_file(path), DEFAULT_LIMITS).convert("RGB")
    else:
        image = open_image(path, orientation="upright", alpha="white")
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return file.getvalue()
