"""An opened picture is decoded, whole or as far as it can be read."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageFile

from babelclip.errors import ImageError

CUT = "is cut short or broken: only what could be read of it is used"
"""What is said of a damaged picture."""
_JPEG_END = b"\xff\xd9"


def decode_pixels(
    image: Image.Image, data: bytes, again: Callable[[bytes], Image.Image]
) -> tuple[Image.Image, str | None]:
    """The picture decoded, and what is wrong with it; None: nothing.

    A JPEG without an end gets one, as viewers do it: they fill what is missing with gray. Of other formats the rows
    before the broken place stay.

    Args:
        image: as opened; no pixel is decoded yet.
        data: the file's bytes.
        again: opens changed bytes in the same way, header and limits included.

    Raises:
        ImageError: nothing of it can be read; without the item's name.
        MemoryError: it is too large for this machine.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds for broken data
        kept = _rescued(image, data, again)
        if kept is None:
            raise ImageError(f"its {image.format} data are broken, cut short or unsupported") from error
        return kept, CUT
    return image, None


def _rescued(image: Image.Image, data: bytes, again: Callable[[bytes], Image.Image]) -> Image.Image | None:
    """What can be shown of a picture whose decoder gave up; None: nothing."""
    if image.format in ("JPEG", "MPO"):
        repaired = again(data + _JPEG_END)
        if repaired.size == image.size and _is_loaded(repaired) and not _is_blank(repaired):
            return repaired
    if not isinstance(image, ImageFile.ImageFile):
        return None
    image.tile = []  # what is decoded counts as all there is
    return image if _is_loaded(image) and not _is_blank(image) else None


def _is_loaded(image: Image.Image) -> bool:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception:  # decoders raise many kinds for broken data
        return False
    return True


def _is_blank(image: Image.Image) -> bool:
    """Whether all its pixels are equal: a decoder that read nothing leaves it so."""
    extremes = image.getextrema()
    pairs = [extremes] if isinstance(extremes[0], int | float) else extremes
    return all(low == high for low, high in pairs)
