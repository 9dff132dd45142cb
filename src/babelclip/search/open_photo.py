"""What an index holds, or a photo that is asked for, as a picture to look at: as a viewer shows it, pages too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from babelclip.errors import ImageError
from babelclip.optional_dependency import install_line
from babelclip.prepare.open_image import DEFAULT_LIMITS, ImageLimits, Picture, open_image, open_picture, read_file
from babelclip.search.filters import Metadata
from babelclip.search.optional_formats import missing_extra, pdf_page
from babelclip.search.walk import exact_path


def open_photo(
    photo: Path | bytes,
    min_side: int | None = None,
    before_decoding: Callable[[tuple[int, int]], object] = lambda size: None,
) -> Image.Image:
    """An RGB image, upright, what is transparent on white, colors by its profile; a damaged one as far as it goes.

    Args:
        photo: a path, or a file's bytes.
        min_side: as for ``open_image``.
        before_decoding: as for ``open_picture``.

    Raises:
        ImageError: it cannot be opened, or is a HEIC photo and its extra is not installed: the index may have been
            made where it was.
    """
    return open_shown(photo, min_side, before_decoding).image


def open_shown(
    photo: Path | bytes,
    min_side: int | None = None,
    before_decoding: Callable[[tuple[int, int]], object] = lambda size: None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Picture:
    """As ``open_photo``, and what is wrong with the file.

    Raises:
        ImageError: as ``open_photo``.
    """
    return open_picture(
        photo,
        limits,
        orientation="upright",
        alpha="white",
        profile="srgb",
        min_side=min_side,
        before_decoding=before_decoding,
    )


def open_page(document: Path, number: int) -> Image.Image:
    """A page of a PDF document as it was embedded; the first is 1.

    Raises:
        ImageError: as ``open_photo``.
    """
    extra = missing_extra("PDF")
    if extra is not None:
        raise ImageError(f"PDF document {str(document)!r}: {install_line(extra)}")
    content = read_file(document)
    try:
        return open_image(pdf_page(content, number))
    except ImageError as error:
        raise ImageError(f"{str(document)!r}: {error}") from error


def open_indexed(
    kind: str,
    metadata: Metadata,
    min_side: int | None = None,
    before_decoding: Callable[[tuple[int, int]], object] = lambda size: None,
) -> Image.Image:
    """The picture of a row of kind image or page, from its file as it is now.

    Raises:
        ImageError: as ``open_photo``.
    """
    if kind == "page":
        return open_page(exact_path(metadata), int(metadata["page"]))
    return open_photo(exact_path(metadata), min_side, before_decoding)
