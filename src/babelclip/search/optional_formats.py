"""Formats that need an extra: HEIC photos and PDF pages. Without it they are counted and its install line is told."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from babelclip.errors import ImageError
from babelclip.optional_dependency import is_installed
from babelclip.prepare.open_image import ImageLimits

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

    from babelclip.search.walk import FileKind

_EXTRAS: dict[FileKind, tuple[str, str]] = {"heif": ("heif", "pillow_heif"), "pdf": ("pdf", "pypdfium2")}
"""Kind of file -> its extra and the package that it brings."""
PAGE_SIDE = 1024
"""Pixels of a page's longer side."""
MAX_PAGES = 2000
"""All pages of a document are held until it is whole, a hundred kilobytes each."""
_ONE_DOCUMENT = threading.Lock()  # pdfium is not made for threads


def missing_extra(kind: FileKind) -> str | None:
    """The extra that a kind of file needs and that is not installed."""
    extra, package = _EXTRAS.get(kind, ("", ""))
    return extra if extra and not is_installed(package) else None


def heif_image(content: bytes, limits: ImageLimits) -> Image.Image:
    """A HEIC photo, upright as its decoder gives it.

    Raises:
        ImageError: it cannot be opened.
    """
    import pillow_heif

    try:
        opened = pillow_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=True)
        width, height = opened.size
        if width * height > limits.max_pixels:
            raise ImageError(f"HEIC photo: has {width * height:,} pixels, the limit is {limits.max_pixels:,}")
        return opened.to_pillow()
    except ImageError:
        raise
    except Exception as error:  # the decoder raises many kinds
        raise ImageError("HEIC photo: its data are broken, cut short or unsupported") from error


def pdf_pages(content: bytes) -> Iterator[bytes]:
    """Pictures (PNG) of a document's pages, in order.

    Raises:
        ImageError: it cannot be opened.
    """
    with _opened_pdf(content) as document:
        count = len(document)
        if count > MAX_PAGES:
            raise ImageError(f"PDF document: has {count:,} pages, the limit is {MAX_PAGES:,}: split it")
        for index in range(count):
            yield _drawn_page(document, index)


def pdf_page(content: bytes, number: int) -> bytes:
    """A picture (PNG) of one page; the first is 1.

    Raises:
        ImageError: it cannot be opened, or there is no such page.
    """
    with _opened_pdf(content) as document:
        if not 1 <= number <= len(document):
            raise ImageError(f"PDF document: has {len(document):,} pages, and no page {number}")
        return _drawn_page(document, number - 1)


@contextmanager
def _opened_pdf(content: bytes) -> Iterator[PdfDocument]:
    import pypdfium2

    try:
        with _ONE_DOCUMENT:
            document = pypdfium2.PdfDocument(content)
            len(document)
    except Exception as error:  # the decoder raises many kinds
        raise ImageError("PDF document: it is broken or needs a password") from error
    try:
        yield document
    finally:
        with _ONE_DOCUMENT:
            document.close()


def _drawn_page(document: PdfDocument, index: int) -> bytes:
    try:
        with _ONE_DOCUMENT:
            page = document[index]
            longest = max(page.get_size())
            scale = PAGE_SIDE / longest if math.isfinite(longest) and longest > 0 else 1.0
            image = page.render(scale=scale).to_pil().convert("RGB")
            page.close()
    except Exception as error:
        raise ImageError(f"PDF document: its page {index + 1} is broken") from error
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
