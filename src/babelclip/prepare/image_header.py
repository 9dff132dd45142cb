"""The header of an image file: its bytes say which format reads it.

A file of its own, because Pillow's own way in has a limit of pixels for the whole process, and knows no HEIC.
"""

from __future__ import annotations

import io
import struct

# The formats are imported by name so that they are registered before any thread opens an image.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from babelclip.errors import ImageError
from babelclip.optional_dependency import install_line, is_installed
from babelclip.prepare.decode_image import CUT
from babelclip.prepare.recognize import format_of, why_unknown

PADDED = "babelclip_damage"
"""Of an image's notes: what is wrong with a file that was filled up so that it could be opened."""


def open_by_bytes(data: bytes, formats: tuple[str, ...], name: str) -> Image.Image:
    """An image of which no pixel is decoded yet.

    Args:
        data: the file.
        formats: those that are taken, by Pillow's names; "HEIF" is an extra's.
        name: what messages call the item.

    Raises:
        ImageError: it is of no such format, its header is broken, or its extra is not installed.
    """
    found = format_of(data)
    if found == "HEIF" and "HEIF" in formats:
        return _open_heif(data, name)
    try:
        image = None if found == "RAW" else _open_by_pillow(data, formats)
        if image is None and found == "WEBP" and "WEBP" in formats:
            image = _open_by_pillow(_padded(data), ("WEBP",))
            if image is not None:
                image.info[PADDED] = CUT
    except Image.DecompressionBombError as error:  # of a format that is decoded as it is opened
        raise ImageError(f"{name}: has more pixels than Pillow opens of a {found} file: {error}") from error
    if image is None:
        raise ImageError(f"{name}: {why_unknown(data, formats)}")
    return image


def _open_by_pillow(data: bytes, formats: tuple[str, ...]) -> Image.Image | None:
    """As ``Image.open`` does it, but for its own limit of pixels, which is one for the whole process."""
    for name in formats:
        if name == "HEIF":
            continue
        factory, accepts = Image.OPEN[name]
        try:
            if accepts is None or accepts(data[:16]) == 1:  # a text says why not
                return factory(io.BytesIO(data), "")
        except Image.DecompressionBombError:
            raise
        except Exception:  # parsers of broken headers raise many kinds
            continue
    return None


def _open_heif(data: bytes, name: str) -> Image.Image:
    """A HEIC photo; its decoder turns it upright."""
    if not is_installed("pillow_heif"):
        raise ImageError(f"{name}: is a HEIC photo, which needs an extra: {install_line('heif')}")
    import pillow_heif

    try:
        image: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    except Exception as error:  # the decoder raises many kinds
        raise ImageError(f"{name}: is a HEIC photo whose data are broken, cut short or unsupported") from error
    return image


def _padded(data: bytes) -> bytes:
    """A WebP file that is cut short, filled with zeros up to the length that it states, within reason."""
    stated = struct.unpack_from("<I", data, 4)[0] + 8 if len(data) >= 8 else 0
    return data + bytes(max(0, min(stated - len(data), 64 * len(data))))
