"""Colors by the profile that a picture carries, as a viewer shows them.

A file of its own, because the model's preparation is free to ignore profiles of RGB, as the published one does; inks
(CMYK) and LAB mean nothing without one.
"""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, ImageCms

_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}
"""Pillow's mode -> the color space that its profile must be of."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture of mode RGB, L, CMYK or LAB in the colors of sRGB, mode RGB; as it is where its profile is of no use.

    Args:
        profile: the bytes of an ICC profile. One that is broken, or of other colors, is left aside, as viewers do.
    """
    try:
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif not profile:
            return image
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = source.profile.xcolor_space.strip()
            if space != _SPACES.get(image.mode) or (space == "RGB" and _is_srgb(source)):
                return image
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        shown = ImageCms.profileToProfile(image, source, _srgb(), intent, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError, AttributeError):
        return image
    if shown is None:
        return image
    shown.info.pop("icc_profile", None)  # who opens it once more must not convert it again
    return shown


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return (profile.profile.profile_description or "").startswith("sRGB")


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
