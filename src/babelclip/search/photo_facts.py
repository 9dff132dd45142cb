"""What a photo says of itself: when, where and with what it was taken (EXIF 2.32)."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

from babelclip.search.filters import Scalar

_TAKEN = re.compile(r"(\d{4})[:\-](\d{2})[:\-](\d{2})[ T](\d{2}):(\d{2}):(\d{2})")
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
            opened = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image
            return _facts(opened)
    except Exception:  # parsers of broken data raise many kinds
        return {}


def _facts(image: Image.Image) -> dict[str, Scalar]:
    exif = image.getexif()
    facts: dict[str, Scalar] = {}
    orientation = exif.get(ExifTags.Base.Orientation)
    width, height = image.size
    if orientation in _TURNED_SIDEWAYS:
        width, height = height, width
    facts["width"], facts["height"] = width, height
    if isinstance(orientation, int) and 2 <= orientation <= 8:
        facts["turned"] = orientation
    taken = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    facts |= _optional("taken", _moment(taken)) | _optional("camera", _camera(exif))
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "S", 90)
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "W", 180)
    if latitude is not None and longitude is not None and (latitude, longitude) != (0.0, 0.0):
        facts |= {"latitude": latitude, "longitude": longitude}
    return facts


def _optional(name: str, value: Scalar | None) -> dict[str, Scalar]:
    return {} if value is None else {name: value}


def _moment(written: Any) -> str | None:
    found = _TAKEN.match(written) if isinstance(written, str) else None
    if found is None or found.group(1) == "0000" or not 1 <= int(found.group(2)) <= 12:
        return None
    year, month, day, hour, minute, second = found.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"


def _camera(exif: Mapping[int, Any]) -> str | None:
    """Maker and model, the maker once."""
    parts = [_plain(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    maker, model = parts
    name = model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
    return name.strip()[:100] or None


def _plain(value: Any) -> str:
    return "".join(letter for letter in value if letter.isprintable()).strip() if isinstance(value, str) else ""


def _degrees(parts: Any, side: Any, negative: str, limit: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or value > limit:
        return None
    return round(-value if side == negative else value, 6)
