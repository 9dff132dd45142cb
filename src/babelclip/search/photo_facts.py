"""What a photo says of itself: when, where and with what it was taken (EXIF 2.32)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import ExifTags, Image

from babelclip.prepare.open_image import open_header
from babelclip.search.filters import Scalar
from babelclip.search.moments import first_moment

_XMP_DATES = ("exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate")
_MAX_XMP = 1 << 20
"""Bytes; more is hardly about a date."""
_TURNED_SIDEWAYS = frozenset({5, 6, 7, 8})


def photo_facts(image: Image.Image | bytes) -> dict[str, Scalar]:
    """Fields for filters.

    ``width`` and ``height`` upright, ``turned`` (the EXIF orientation, where it is not 1), ``taken`` (local time,
    YYYY-MM-DDTHH:MM:SS), ``camera``, ``latitude`` and ``longitude`` in degrees.

    What is missing or makes no sense is left out; this never fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF data are common and cost only the fields
            return _facts(open_header(image) if isinstance(image, bytes) else image)
    except Exception:  # parsers of broken data raise many kinds
        return {}


def _facts(image: Image.Image) -> dict[str, Scalar]:
    width, height = image.size
    try:
        exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation)
    except Exception:  # parsers of broken data raise many kinds; the size is still right
        return {"width": width, "height": height}
    if orientation in _TURNED_SIDEWAYS and image.format != "TIFF":  # of which Pillow states the size upright
        width, height = height, width
    facts: dict[str, Scalar] = {"width": width, "height": height}
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        facts["turned"] = orientation
    facts |= _optional("taken", first_moment(_dates(image, exif))) | _optional("camera", _camera(exif))
    gps = _directory(exif, ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "S", 90)
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "W", 180)
    if latitude is not None and longitude is not None and (latitude, longitude) != (0.0, 0.0):
        facts |= {"latitude": latitude, "longitude": longitude}
    return facts


def _directory(exif: Image.Exif, which: int) -> Mapping[int, Any]:
    """A directory inside the EXIF data; empty where it is broken."""
    try:
        return exif.get_ifd(which)
    except Exception:  # parsers of broken data raise many kinds
        return {}


def _dates(image: Image.Image, exif: Image.Exif) -> Iterator[object]:
    """What may say when a photo was taken, the surest first."""
    inner = _directory(exif, ExifTags.IFD.Exif)
    yield inner.get(ExifTags.Base.DateTimeOriginal)
    yield inner.get(ExifTags.Base.DateTimeDigitized)
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    for name in _XMP_DATES:
        for found in re.finditer(rf"<?{name}\s*(?:=\s*[\"']|>)\s*([^\"'<]{{4,40}})", text[:_MAX_XMP]):
            yield found.group(1)
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized, ExifTags.Base.DateTime):
        yield exif.get(tag)
    yield image.info.get("Creation Time")  # a word of PNG's own


def _optional(name: str, value: Scalar | None) -> dict[str, Scalar]:
    return {} if value is None else {name: value}


def _camera(exif: Mapping[int, Any]) -> str | None:
    """Maker and model, the maker once."""
    parts = [_plain(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    maker, model = parts
    name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
    return name.strip()[:100] or None


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return "".join(letter for letter in value if letter.isprintable()).strip() if isinstance(value, str) else ""


def _degrees(parts: Any, side: Any, negative: str, limit: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or not -limit <= value <= limit:
        return None
    south_or_west = str(side.decode("ascii", "replace") if isinstance(side, bytes) else side).strip("\0 ").upper()
    return round(-value if south_or_west.startswith(negative) else value, 6)
