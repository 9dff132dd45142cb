"""Dates of photos: candidates in turn, each checked; forms that cameras write; facts as another reader tells them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from babelclip.search.moments import first_moment
from babelclip.search.photo_facts import photo_facts

GOOD = "2024-05-03T12:00:00"
FORMS = {
    "2024:05:03 12:00:00": GOOD,
    "2024-05-03 12:00:00": GOOD,
    "2024:05:03T12:00:00": GOOD,
    "2024:05:03 12:00:00\x00": GOOD,
    "  2024:05:03 12:00:00   ": GOOD,
    "2024:05:03 12:00": GOOD,
    "2024:05:03 12:00:00.250": GOOD,
    "2024:05:03 12:00:00+02:00": GOOD,
    "2024-05-03T12:00:00Z": GOOD,
    "2024/05/03 12:00:00": GOOD,
    "2024.05.03 12.00.00": GOOD,
    "2024: 5: 3 12: 0: 0": GOOD,
    "2024:05:03": "2024-05-03T00:00:00",
    "2024:05:03 24:00:00": "2024-05-04T00:00:00",
    "2024:12:31 24:00:00": "2025-01-01T00:00:00",
    "2024:02:29 12:00:00": "2024-02-29T12:00:00",
    "2016:12:31 23:59:60": "2016-12-31T23:59:59",
    "Fri, 03 May 2024 12:00:00 GMT": GOOD,
    "2023:02:29 12:00:00": None,
    "2024:02:30 12:00:00": None,
    "2024:13:01 12:00:00": None,
    "2024:00:00 00:00:00": None,
    "0000:00:00 00:00:00": None,
    "0000:00:00": None,
    "    :  :     :  :  ": None,
    "2024:05:03 25:00:00": None,
    "2024:05:03 12:61:00": None,
    "9999:12:31 24:00:00": None,
    "1000:01:01 00:00:00": None,
    "": None,
    "yesterday": None,
    "2024:05:03 12:00:00 and more": None,
}


@pytest.mark.parametrize("written", FORMS)
def test_forms_that_cameras_write_and_dates_that_do_not_exist(written: str) -> None:
    assert first_moment([written]) == FORMS[written]
    assert first_moment([written.encode()]) == FORMS[written]
    assert first_moment([None, 7, written, "2001:01:01 00:00:00"]) == (FORMS[written] or "2001-01-01T00:00:00")


def photo(
    original: Any = None, digitized: Any = None, changed: Any = None, kind: str = "JPEG", **options: Any
) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, value in ((ExifTags.Base.DateTimeOriginal, original), (ExifTags.Base.DateTimeDigitized, digitized)):
        if value is not None:
            inner[tag] = value
    if changed is not None:
        exif[ExifTags.Base.DateTime] = changed
    Image.new("RGB", (8, 6)).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("bad", ["", "   ", "0000:00:00 00:00:00", "2024:02:30 12:00:00", "    :  :     :  :  "])
def test_a_bad_first_date_does_not_stop_the_search(bad: str) -> None:
    good = "2024:05:03 12:00:00"
    assert photo_facts(photo(bad, good))["taken"] == GOOD
    assert photo_facts(photo(bad, bad, good))["taken"] == GOOD
    assert "taken" not in photo_facts(photo(bad, bad, bad))
    xmp = b'<x:xmpmeta><rdf:Description exif:DateTimeOriginal="2024-05-03T12:00:00"/></x:xmpmeta>'
    assert photo_facts(photo(bad, xmp=xmp))["taken"] == GOOD


def test_png_says_when_it_was_made() -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("Creation Time", "2024:05:03 12:00:00")
    assert photo_facts(photo(kind="PNG", pnginfo=told))["taken"] == GOOD


@pytest.mark.parametrize(("side", "sign"), [("N", 1), ("S", -1), ("s", -1), ("S\x00", -1)])
def test_places_as_other_readers_tell_them(side: str, sign: int) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: side, 2: (52.0, 30.0, 36.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon\x1b[31m", "Canon EOS R5\x00"
    Image.new("RGB", (8, 6)).save(file, "JPEG", exif=exif)
    facts = photo_facts(file.getvalue())
    assert (facts["latitude"], facts["longitude"]) == (sign * 52.51, 13.4)
    assert "\x1b" not in str(facts["camera"])
