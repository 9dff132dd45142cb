"""Pixels are the reference's, bit for bit, for every awkward file but gray ones of 16 bits.

The reference: docs/reference/published-model.md#image-preparation.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import GRAY_OF_16_BITS

from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
MANIFEST: dict[str, Any] = json.loads((IMAGES / "manifest.json").read_text(encoding="utf-8"))
FOLLOWED = sorted(set(MANIFEST["files"]) - GRAY_OF_16_BITS)
SMALL = MANIFEST["small_size"]


def sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_every_file_is_covered() -> None:
    assert sorted(path.name for path in (IMAGES / "files").iterdir()) == sorted(MANIFEST["files"])
    assert len(FOLLOWED) == 17


@pytest.mark.parametrize("size", [512, SMALL])
@pytest.mark.parametrize("name", FOLLOWED)
def test_crop_and_pixels_are_identical(name: str, size: int) -> None:
    preparer = ImagePreparer(ImagePrepareConfig(size=size))
    crop = preparer.crop(IMAGES / "files" / name)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    assert sha256(crop) == MANIFEST["files"][name][f"encode_path_{size}_u8_sha256"]
    pixels = preparer(IMAGES / "files" / name)
    assert pixels.dtype == np.float32
    assert sha256(pixels) == MANIFEST["files"][name][f"encode_path_{size}_f32_sha256"]


@pytest.mark.parametrize("name", FOLLOWED)
def test_small_pixels_against_the_recorded_numbers(name: str) -> None:
    """The same as above with numbers instead of a hash, so that a failure shows how far off it is."""
    with np.load(IMAGES / "encode_path_56.npz") as recorded:
        np.testing.assert_array_equal(
            ImagePreparer(ImagePrepareConfig(size=SMALL))(IMAGES / "files" / name), recorded[name]
        )


@pytest.mark.parametrize("name", sorted(GRAY_OF_16_BITS))
def test_gray_of_16_bits_is_what_a_viewer_shows(name: str) -> None:
    """The reference clips it at 255 of 65,535, so that a photo is white (docs/reference/published-model.md)."""
    with Image.open(IMAGES / "files" / name) as image:
        in_eight_bits = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    crop = ImagePreparer(ImagePrepareConfig(size=SMALL))
    np.testing.assert_array_equal(crop.crop(IMAGES / "files" / name), crop.crop(in_eight_bits))
    assert sha256(crop.crop(IMAGES / "files" / name)) != MANIFEST["files"][name][f"encode_path_{SMALL}_u8_sha256"]


with np.load(IMAGES / "other_modes_56.npz") as _modes:
    OTHER_MODES = {key: _modes[key] for key in _modes.files}


@pytest.mark.parametrize("key", OTHER_MODES)
def test_other_modes_are_identical(key: str) -> None:
    mode, name = key.split(".", 1)
    options = {
        "longest": {"resize_mode": "longest"},
        "squash": {"resize_mode": "squash"},
        "shortest_bilinear": {"interpolation": "bilinear"},
    }[mode]
    preparer = ImagePreparer(ImagePrepareConfig(size=SMALL, **options))  # type: ignore[arg-type]
    np.testing.assert_array_equal(preparer(IMAGES / "files" / name), OTHER_MODES[key])
