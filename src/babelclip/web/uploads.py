"""An image that was sent, as large as it may be decoded.

A file of its own, because it keeps what ``PageSettings.upload_memory`` promises: pixels of any format take so much
(those of a WebP most), and a larger JPEG takes no more, because it is decoded at half its size.
"""

from __future__ import annotations

from dataclasses import replace

from babelclip.prepare.open_image import ImageLimits, ImageSource, open_header, open_picture

JPEG_TIMES = 2.2
"""How many times as many pixels a JPEG may have: of a progressive one eight bytes a pixel are kept while it is read."""


def picture_to_find(image: bytes, limits: ImageLimits) -> ImageSource:
    """What is given to the model: the bytes themselves, or a large JPEG at half its size or less, as a viewer shows it.

    Raises:
        ImageError: it is no image, or has more pixels than are taken.
    """
    large = replace(limits, max_pixels=int(JPEG_TIMES * limits.max_pixels))
    with open_header(image, large) as header:
        (width, height), is_jpeg = header.size, header.format in ("JPEG", "MPO")
    if width * height <= limits.max_pixels or not is_jpeg:
        open_header(image, limits).close()
        return image
    return open_picture(
        image, large, orientation="upright", alpha="white", profile="srgb", min_side=min(width, height) // 2
    ).image
