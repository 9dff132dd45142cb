"""Small pictures of what is indexed."""

from __future__ import annotations

import io

from babelclip.search.filters import Metadata
from babelclip.search.open_photo import open_indexed

SIDE = 320
"""Pixels of the longer side."""


def thumbnail(kind: str, metadata: Metadata, side: int = SIDE) -> bytes:
    """A WebP picture of a row of kind image or page. Raises: ImageError."""
    image = open_indexed(kind, metadata, side)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return file.getvalue()
