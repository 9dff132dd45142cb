"""Small pictures of photos, upright."""

from __future__ import annotations

import io
from pathlib import Path

from babelclip.search.open_photo import open_photo

SIDE = 320
"""Pixels of the longer side."""


def thumbnail(path: Path, side: int = SIDE) -> bytes:
    """A WebP picture of a photo. Raises: ImageError."""
    image = open_photo(path, side)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return file.getvalue()
