"""From an open image to the model's pixels: modes, arithmetic, threads, configuration."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer, stack

FILES = Path(__file__).parents[2] / "fixtures" / "images" / "files"


def gray(width: int, height: int, value: int = 100) -> Image.Image:
    return Image.new("RGB", (width, height), (value, value, value))


def test_pixels_are_the_plain_float32_arithmetic() -> None:
    preparer = ImagePreparer(ImagePrepareConfig(size=16))
    values = np.arange(768, dtype=np.int64).reshape(16, 16, 3) % 256
    mean, std = np.float32(preparer.config.mean), np.float32(preparer.config.std)
    expected = ((values.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)
    found = preparer(values.astype(np.uint8))
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous


@pytest.mark.parametrize(("length", "offset"), [(513, 0), (514, 1), (515, 2), (517, 2), (519, 4)])
def test_the_crop_offset_is_rounded_half_to_even(length: int, offset: int) -> None:
    row = np.arange(length, dtype=np.uint16)
    array = np.zeros((512, length, 3), dtype=np.uint8)
    array[:, :, 0], array[:, :, 1] = row // 256, row % 256  # at this size nothing is resized
    crop = ImagePreparer(ImagePrepareConfig(size=512)).crop(array)
    assert crop[0, 0, :2].tolist() == [offset // 256, offset % 256]
    turned = ImagePreparer(ImagePrepareConfig(size=512)).crop(np.ascontiguousarray(array.transpose(1, 0, 2)))
    assert turned[0, 0, :2].tolist() == [offset // 256, offset % 256]


def test_the_longer_side_is_cut_off_not_rounded() -> None:
    """101 x 200 at 56 is 56 x 110.9: 110 as in the reference, and the crop begins at 27."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 101, 3), dtype=np.uint8))
    expected = image.resize((56, 110), Image.Resampling.BICUBIC).crop((0, 27, 56, 83))
    np.testing.assert_array_equal(ImagePreparer(ImagePrepareConfig(size=56)).crop(image), np.asarray(expected))


def test_longest_centers_on_the_fill() -> None:
    crop = ImagePreparer(ImagePrepareConfig(size=10, resize_mode="longest", fill=7)).crop(gray(20, 10))
    assert (crop[2:7] == 100).all()  # 5 rows high, (10 - 5) // 2 = 2 above
    assert (crop[:2] == 7).all()
    assert (crop[7:] == 7).all()


def test_longest_rounds_the_shorter_side_and_keeps_one_pixel() -> None:
    preparer = ImagePreparer(ImagePrepareConfig(size=10, resize_mode="longest"))
    assert (preparer.crop(gray(100, 26)) == 100).all(axis=(1, 2)).sum() == 3  # 2.6
    assert (preparer.crop(gray(5000, 1)) == 100).all(axis=(1, 2)).sum() == 1


def test_squash_shows_the_whole_image() -> None:
    image = gray(30, 10)
    image.paste((200, 0, 0), (0, 0, 10, 10))
    crop = ImagePreparer(ImagePrepareConfig(size=30, resize_mode="squash")).crop(image)
    assert crop[:, :8, 0].min() > 195
    assert crop[:, 12:, 0].max() < 105


def test_ours_upright_over_white() -> None:
    ours = ImagePrepareConfig(size=8, resize_mode="squash", alpha="white", orientation="upright")
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (ImagePreparer(ours).crop(clear) == 255).all()
    published = ImagePreparer(ImagePrepareConfig(size=8)).crop(clear)
    assert (published == (255, 0, 0)).all()  # hidden colors show, as published

    image = Image.new("RGB", (8, 8), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 8, 4))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees: white goes right
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    assert (ImagePreparer(ours).crop(file)[:, 4:] == 255).all()
    assert (ImagePreparer(ImagePrepareConfig(size=8)).crop(file)[:4] == 255).all()


def test_stack_makes_a_batch() -> None:
    preparer = ImagePreparer(ImagePrepareConfig(size=8))
    batch = stack([preparer(gray(8, 8, value)) for value in (1, 2, 3)])
    assert batch.pixels.shape == (3, 3, 8, 8)
    assert batch.pixels.dtype == np.float32


def test_threads_may_share_a_preparer_an_image_and_a_file_object() -> None:
    preparer = ImagePreparer(ImagePrepareConfig(size=56))
    names = sorted(FILES.iterdir())
    expected = [preparer(name) for name in names]
    lazy = Image.open(FILES / "16_jpeg420.jpg")  # not decoded yet
    with lazy, open(FILES / "16_jpeg420.jpg", "rb") as file, ThreadPoolExecutor(8) as pool:
        sources: list[Any] = [*names * 4, *[lazy] * 16, *[file] * 16]
        found = list(pool.map(preparer, sources))
    alone = preparer(FILES / "16_jpeg420.jpg")
    for pixels, wanted in zip(found, [*expected * 4, *[alone] * 32], strict=True):
        np.testing.assert_array_equal(pixels, wanted)


def test_an_image_that_threads_share_is_loaded_by_one_of_them() -> None:
    image, state = Image.open(FILES / "16_jpeg420.jpg"), {"inside": 0, "most": 0, "loaded": 0}
    load = image.load

    def slow_load() -> Any:
        if state["loaded"]:
            return load()
        state["inside"] += 1
        state["most"] = max(state["most"], state["inside"])
        time.sleep(0.02)
        result = load()
        state["inside"] -= 1
        state["loaded"] = 1
        return result

    image.load = slow_load  # type: ignore[method-assign]
    with image, ThreadPoolExecutor(4) as pool:
        list(pool.map(ImagePreparer(ImagePrepareConfig(size=8)), [image] * 8))
    assert state == {"inside": 0, "most": 1, "loaded": 1}


def test_a_file_object_that_threads_share_is_read_by_one_at_a_time() -> None:
    class Slow(io.BytesIO):
        def seek(self, *args: int) -> int:
            position = super().seek(*args)
            time.sleep(0.01)
            return position

    file = Slow((FILES / "16_jpeg420.jpg").read_bytes())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ImagePreparer(ImagePrepareConfig(size=8)), [file] * 8))
    assert len({pixels.tobytes() for pixels in found}) == 1


@pytest.mark.parametrize("size", [8, 56, 200])
def test_large_jpegs_are_decoded_in_full(size: int) -> None:
    """Pillow could decode at an eighth of the size, faster, and with other pixels."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.resize((1600, 1200)).save(file, "JPEG", quality=90)
    whole = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    expected = whole.resize((size, size), Image.Resampling.BICUBIC)
    crop = ImagePreparer(ImagePrepareConfig(size=size, resize_mode="squash")).crop(file.getvalue())
    np.testing.assert_array_equal(crop, np.asarray(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"size": 8, "resize_mode": "stretch"}, "unknown resize_mode 'stretch'; known are shortest, squash, longest"),
        ({"size": 8, "interpolation": "random"}, "unknown interpolation 'random'"),
        ({"size": 8, "alpha": "black"}, "unknown alpha"),
        ({"size": 8, "orientation": "left"}, "unknown orientation"),
        ({"size": 8, "std": (0.5, 0.0, 0.5)}, "std above 0"),
        ({"size": 8, "mean": (0.5,)}, "3 numbers each"),
        ({"size": 8, "fill": 256}, "fill must be"),
    ],
)
def test_a_configuration_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImagePreparer(ImagePrepareConfig(**options))
