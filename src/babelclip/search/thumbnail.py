"""Small pictures of what is indexed, and the folder in which an index's are kept.

A file of its own, because the page, contact sheets and ``forget`` share it.
"""

from __future__ import annotations

import io
from hashlib import blake2b
from pathlib import Path

from babelclip.prepare.large_pictures import taking_turns
from babelclip.search.filters import Metadata
from babelclip.search.open_photo import open_indexed
from babelclip.user_folders import user_cache

SIDE = 320
"""Pixels of the longer side."""


def thumbnail(kind: str, metadata: Metadata, side: int = SIDE) -> bytes:
    """A WebP picture of a row of kind image or page.

    Raises:
        ImageError: when its file cannot be opened.
    """
    with taking_turns() as wait:
        image = open_indexed(kind, metadata, side, wait)
        image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return file.getvalue()


def thumbnail_folder(url: str) -> Path:
    """Where the small pictures of the index at a URL (``Database.url``) are kept; no other index keeps any there."""
    return user_cache() / "thumbnails" / blake2b(url.encode(), digest_size=8).hexdigest()
