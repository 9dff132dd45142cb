"""Formats that need an extra: HEIC photos, which ``prepare`` opens, and PDF pages. Without it they are counted."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from babelclip.errors import ImageError
from babelclip.optional_dependency import is_installed

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_EXTRAS = {"HEIF": ("heif", "pillow_heif"), "PDF": ("pdf", "pypdfium2")}
"""Format of a file -> its extra and the package that it brings."""
PAGE_SIDE = 1024
"""Pixels of a page's longer side."""
MAX_PAGES = 2000
"""All pages of a document are held until it is whole, a hundred kilobytes each."""
_ONE_DOCUMENT = threading.Lock()  # pdfium is not made for threads


def missing_extra(format: str | None) -> str | None:
    """The extra that a format of ``format_of`` needs and that is not installed."""
    extra, package = _EXTRAS.get(format or "", ("", ""))
    return extra if extra and not is_installed(package) else None


def pdf_pages(content: bytes) -> Iterator[tuple[int, bytes | None]]:
    """A document's pages in order: number from 1, and a picture (PNG), or None for a page that is broken.

    Raises:
        ImageError: it cannot be opened.
    """
    with _opened_pdf(content) as document:
        count = len(document)
        if count > MAX_PAGES:
            raise ImageError(f"PDF document: has {count:,} pages, the limit is {MAX_PAGES:,}: split it")
        for index in range(count):
            try:
                yield index + 1, _drawn_page(document, index)
            except ImageError:
                yield index + 1, None


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
