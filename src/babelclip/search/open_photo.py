"""The one way to open what an index holds, or a photo that is asked for, as a picture: upright, HEIC and pages too."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from babelclip.errors import ImageError
from babelclip.optional_dependency import install_line
from babelclip.prepare.kinds import HEIF_SUFFIXES
from babelclip.prepare.open_image import DEFAULT_LIMITS, ImageSource, open_image, read_file
from babelclip.search.filters import Metadata
from babelclip.search.optional_formats import heif_image, missing_extra, pdf_page
from babelclip.search.walk import exact_path

_HEIF_START = re.compile(rb"....ftyp(heic|heix|hevc|mif1|msf1)", re.DOTALL)


def open_photo(photo: Path | bytes, min_side: int | None = None) -> Image.Image:
    """An RGB image, upright, what is transparent on white.

    Args:
        photo: a path, or a file's bytes.
        min_side: as for ``open_image``.

    Raises:
        ImageError: it cannot be opened, or is a HEIC photo and its extra is not installed: the index may have been
            made where it was.
    """
    if not _is_heif(photo):
        return open_image(photo, orientation="upright", alpha="white", min_side=min_side)
    extra = missing_extra("heif")
    if extra is not None:
        raise ImageError(f"HEIC photo: {install_line(extra)}")
    content = photo if isinstance(photo, bytes) else read_file(photo)
    return open_image(heif_image(content, DEFAULT_LIMITS), alpha="white")  # its decoder has turned it


def open_page(document: Path, number: int) -> Image.Image:
    """A page of a PDF document as it was embedded; the first is 1.

    Raises:
        ImageError: as ``open_photo``.
    """
    extra = missing_extra("pdf")
    if extra is not None:
        raise ImageError(f"PDF document: {install_line(extra)}")
    return open_image(pdf_page(read_file(document), number))


def open_indexed(kind: str, metadata: Metadata, min_side: int | None = None) -> Image.Image:
    """The picture of a row of kind image or page, from its file as it is now.

    Raises:
        ImageError: as ``open_photo``.
    """
    if kind == "page":
        return open_page(exact_path(metadata), int(metadata["page"]))
    return open_photo(exact_path(metadata), min_side)


def for_encoder(image: ImageSource) -> ImageSource:
    """What an encoder can open: HEIC photos as a picture, all else as it is.

    Raises:
        ImageError: as ``open_photo``.
    """
    return open_photo(image) if isinstance(image, Path | bytes) and _is_heif(image) else image


def _is_heif(photo: Path | bytes) -> bool:
    if isinstance(photo, bytes):
        return _HEIF_START.match(photo) is not None
    return photo.suffix.lower() in HEIF_SUFFIXES
