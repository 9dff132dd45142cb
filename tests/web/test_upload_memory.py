"""What an image that is sent takes while it is decoded, in every format and mode: what the settings say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip.errors import ImageError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import ImageLimits
from babelclip.prepare.pixel_budget import BYTES_PER_PIXEL
from babelclip.web.settings import PageSettings
from babelclip.web.uploads import JPEG_TIMES, picture_to_find

pytestmark = pytest.mark.stress

MEASURE = Path(__file__).with_name("measure_decoding.py")
CONSTANT = 128 * 2**20
"""For rows that are worked on at a time, and what a decoder has for itself."""
ALBUM = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"


def test_no_format_and_mode_takes_more_than_is_said() -> None:
    done = subprocess.run([sys.executable, str(MEASURE)], capture_output=True, text=True, check=True, timeout=300)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["format"] for each in found} == {"PNG", "JPEG", "WEBP", "AVIF", "HEIF", "TIFF", "GIF", "BMP", "PPM"}
    for each in found:
        more = each["large"]["bytes"] - each["small"]["bytes"]
        of_a_pixel = more / (each["large"]["pixels"] - each["small"]["pixels"])
        print(f"{each['format']} {each['mode']} {each['with']}: {of_a_pixel:.1f}")
        assert of_a_pixel < BYTES_PER_PIXEL, each
        assert each["large"]["bytes"] < BYTES_PER_PIXEL * each["large"]["pixels"] + CONSTANT, each
    assert len(found) > 20


def encoded(path: Path, size: tuple[int, int], kind: str, folder: Path, **options: object) -> bytes:
    file = folder / f"large.{kind}"
    Image.open(path).convert("RGB").resize(size).save(file, kind, **options)
    return file.read_bytes()


def test_a_large_jpeg_is_decoded_smaller_and_sees_the_same(tmp_path: Path) -> None:
    """Of the same picture: the square that the model sees of a JPEG above the limit, and of one below it."""
    limits = ImageLimits(max_pixels=400_000)
    seen = ImagePreparer(ImagePrepareConfig(size=224)).upright()
    for options in ({}, {"progressive": True}):
        content = encoded(ALBUM / "zebras.webp", (1000, 800), "jpeg", tmp_path, quality=95, **options)
        given = picture_to_find(content, limits)
        assert isinstance(given, Image.Image)
        assert given.size == (500, 400)
        whole, half = (seen.crop(each).astype(np.float64) for each in (content, given))
        assert np.abs(whole - half).mean() < 2
        assert picture_to_find(content, ImageLimits(max_pixels=800_000)) is content  # as before, to the byte
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture_to_find(
        encoded(ALBUM / "zebras.webp", (1000, 800), "jpeg", tmp_path, exif=exif), ImageLimits(max_pixels=400_000)
    )
    assert isinstance(turned, Image.Image)
    assert turned.size == (400, 500)


def test_others_and_larger_ones_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    limits = ImageLimits(max_pixels=400_000)
    for kind in ("png", "webp", "tiff"):
        with pytest.raises(ImageError, match="the limit is 400,000"):
            picture_to_find(encoded(ALBUM / "dog.webp", (1000, 800), kind, tmp_path), limits)
    with pytest.raises(ImageError, match="the limit is 880,000"):
        picture_to_find(encoded(ALBUM / "dog.webp", (1000, 900), "jpeg", tmp_path), limits)
    assert round(JPEG_TIMES * PageSettings().upload_pixels) == 110_000_000
