"""The one way to open a photo of an index as a picture: upright, HEIC too."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from babelclip.errors import ImageError
from babelclip.prepare.open_image import DEFAULT_LIMITS, open_image, read_file
from babelclip.search.optional_formats import heif_image, install_line, missing_extra
from babelclip.search.walk import HEIF_SUFFIXES


def open_photo(path: Path, least: int | None = None) -> Image.Image:
    """An RGB image, upright, what is transparent on white; least: as for ``open_image``.

    Raises: ImageError for what cannot be opened, and for a HEIC photo where its extra is not installed: the index may
    have been made where it was.
    """
    if path.suffix.lower() not in HEIF_SUFFIXES:
        return open_image(path, orientation="upright", alpha="white", least=least)
    extra = missing_extra("heif")
    if extra is not None:
        raise ImageError(f"HEIC photo: {install_line(extra)}")
    return open_image(heif_image(read_file(path), DEFAULT_LIMITS), alpha="white")  # its decoder has turned it
