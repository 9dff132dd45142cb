"""A picture looks as a viewer shows it in every mode, depth, format, profile and orientation, damaged ones too.

A made scene in every spelling is held against itself in plain RGB.
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageDraw

from babelclip import DamagedImageWarning, ImageError, ImageLimits
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import open_image, open_picture
from babelclip.search.open_photo import open_photo
from babelclip.search.photo_facts import photo_facts
from babelclip.search.thumbnail import thumbnail

WIDTH, HEIGHT = 96, 64
UNDO = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""EXIF orientation -> how a camera stores the scene: the inverse of what EXIF asks for."""
SHOWN = ImagePreparer(ImagePrepareConfig(size=56)).upright()


def scene() -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 160, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 44, WIDTH, HEIGHT], fill=(60, 140, 50))
    draw.rectangle([16, 20, 40, 50], fill=(190, 60, 40))
    return image


SCENE = scene()
GRAY = SCENE.convert("L")


def wide(order: str) -> Image.Image:
    return Image.frombytes(
        f"I;16{'B' if order == '>' else ''}",
        GRAY.size,
        (np.asarray(GRAY, np.int32) * 257).astype(f"{order}u2").tobytes(),
    )


def floats(white: float) -> Image.Image:
    return Image.fromarray((np.asarray(GRAY) * (white / 255)).astype(np.float32))


def palette(transparent: bool) -> Image.Image:
    image = SCENE.quantize(16)
    if transparent:
        image.info["transparency"] = bytes([255] * 16)
    return image


def with_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(Image.new("L", image.size, 255))
    return image


def png16(channels: int) -> bytes:
    """16 bits a channel, which Pillow does not write."""
    values = np.asarray({1: GRAY, 2: GRAY, 3: SCENE, 4: SCENE}[channels]).reshape(HEIGHT, WIDTH, -1).astype(">u2") * 257
    if channels in (2, 4):
        values = np.concatenate([values, np.full((HEIGHT, WIDTH, 1), 65535)], axis=2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_of_white_zero() -> bytes:
    """16-bit gray in which 0 is white."""
    file = io.BytesIO()
    inverted = 65535 - np.asarray(GRAY).astype(np.uint16) * 257
    Image.frombytes("I;16", GRAY.size, inverted.astype("<u2").tobytes()).save(file, "TIFF", tiffinfo={262: 0})
    return file.getvalue()


MODES: dict[str, tuple[Image.Image, Image.Image]] = {
    "RGB": (SCENE, SCENE),
    "RGBA": (with_alpha(SCENE.copy()), SCENE),
    "RGBX": (SCENE.convert("RGBX"), SCENE),
    "L": (GRAY, GRAY),
    "LA": (with_alpha(GRAY.copy()), GRAY),
    "P": (palette(False), palette(False)),
    "P, transparency": (palette(True), palette(False)),
    "1": (GRAY.point(lambda value: 255 * (value > 120)).convert("1"), GRAY.point(lambda value: 255 * (value > 120))),
    "CMYK": (SCENE.convert("CMYK"), SCENE),
    "YCbCr": (SCENE.convert("YCbCr"), SCENE),
    "LAB": (
        ImageCms.profileToProfile(
            SCENE, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        ),
        SCENE,
    ),
    "I;16": (wide("<"), GRAY),
    "I;16B": (wide(">"), GRAY),
    "I": (Image.fromarray(np.asarray(GRAY).astype(np.int32) * 257), GRAY),
    "F to 1": (floats(1.0), GRAY),
    "F to 255": (floats(255.0), GRAY),
}
FORMATS = {"JPEG": 14.0, "PNG": 2.0, "WEBP": 14.0, "GIF": 14.0, "BMP": 2.0, "TIFF": 2.0, "AVIF": 14.0, "PPM": 2.0}
"""Format -> how far a value may be away, on the average."""


def written(image: Image.Image, kind: str, orientation: int) -> bytes | None:
    """A file; None where the format has no such mode."""
    if image.mode[0] in "IF" and kind not in ("PNG", "TIFF", "PPM"):
        return None  # the writer clips it
    if kind == "GIF" and isinstance(image.info.get("transparency"), bytes):
        return None
    stored = image if orientation == 1 else image.transpose(Image.Transpose(UNDO[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {} if kind in ("GIF", "BMP", "PPM") else {"exif": exif}
    file = io.BytesIO()
    try:
        stored.save(file, kind, **options)
    except (OSError, ValueError, KeyError):
        return None
    return file.getvalue()


@pytest.mark.parametrize(("mode", "kind"), list(product(MODES, FORMATS)))
def test_every_mode_and_format_looks_like_its_reference(mode: str, kind: str, tmp_path: Path) -> None:
    image, reference = MODES[mode]
    expected = np.asarray(reference.convert("RGB"), np.float32)
    for orientation in (1,) if kind in ("GIF", "BMP", "PPM") else (1, 6, 7):
        data = written(image, kind, orientation)
        if data is None:
            pytest.skip(f"{kind} has no mode {mode}")
        shown = open_photo(data)
        assert np.abs(np.asarray(shown, np.float32) - expected).mean() < FORMATS[kind]
        facts = photo_facts(data)
        assert (facts["width"], facts["height"]) == shown.size == (WIDTH, HEIGHT)
        (tmp_path / "file").write_bytes(data)
        small = Image.open(io.BytesIO(thumbnail("image", {"path": str(tmp_path / "file")}, HEIGHT)))
        assert np.abs(np.asarray(small, np.float32) - np.asarray(shown.resize(small.size), np.float32)).mean() < 14
        plain = SHOWN.crop(Image.fromarray(np.asarray(shown)))
        assert np.abs(SHOWN.crop(data).astype(np.float32) - plain).mean() < 3, "the model sees what is shown"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels: int) -> None:
    expected = np.asarray((GRAY if channels < 3 else SCENE).convert("RGB"), np.int16)
    assert np.abs(np.asarray(open_image(png16(channels)), np.int16) - expected).max() <= 1


def test_tiff_whose_zero_is_white() -> None:
    assert np.abs(np.asarray(open_image(tiff_of_white_zero()), np.int16)[..., 0] - np.asarray(GRAY)).max() <= 1


def test_numbers_that_are_none_are_black() -> None:
    values = np.array([[np.nan, 0.0], [1.0, np.inf]], np.float32)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    assert np.asarray(open_image(file.getvalue()))[..., 0].tolist() == [[0, 0], [255, 255]]


def test_colors_go_by_their_profile_where_a_viewer_is_asked() -> None:
    """Red and blue exchanged in a profile: a viewer shows them right, the published preparation does not look."""
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = swapped.index(b"rXYZ", 128), swapped.index(b"bXYZ", 128)
    table = bytearray(swapped)
    table[red : red + 4], table[blue : blue + 4] = b"bXYZ", b"rXYZ"
    table = bytearray(bytes(table).replace(b"s\0R\0G\0B", b"o\0d\0d\0!"))
    file = io.BytesIO()
    Image.merge("RGB", SCENE.split()[::-1]).save(file, "PNG", icc_profile=bytes(table))
    assert np.abs(np.asarray(open_photo(file.getvalue()), np.int16) - np.asarray(SCENE)).mean() < 4
    assert np.asarray(open_image(file.getvalue()))[0, 0].tolist() == [230, 160, 90]
    seen = SHOWN.crop(file.getvalue()).astype(np.float32)
    assert np.abs(seen - SHOWN.crop(SCENE)).mean() < 4


@pytest.mark.parametrize("profile", [b"", b"no profile", bytes(200)])
def test_a_broken_profile_is_left_aside(profile: bytes) -> None:
    file = io.BytesIO()
    SCENE.save(file, "PNG", icc_profile=profile)
    assert np.array_equal(np.asarray(open_photo(file.getvalue())), np.asarray(SCENE))


def large_scene(kind: str, **options: Any) -> bytes:
    noise = np.random.default_rng(1).integers(0, 60, (480, 640, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.asarray(SCENE.resize((640, 480))) // 2 + noise).save(file, kind, **options)
    return file.getvalue()


SPELLINGS = {
    "JPEG": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "CMYK": ("JPEG", {}),
    "PNG": ("PNG", {}),
    "WEBP": ("WEBP", {}),
    "lossless": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {"interlace": 0}),
    "TIFF": ("TIFF", {}),
    "BMP": ("BMP", {}),
    "PPM": ("PPM", {}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_can_be_read_is_used_and_said_to_be_damaged(spelling: str) -> None:
    kind, options = SPELLINGS[spelling]
    data = large_scene(kind, **options)
    whole = np.asarray(open_image(data), np.float32)
    for share in (0.5, 0.9):
        with pytest.warns(DamagedImageWarning, match="cut short or broken"):
            part = np.asarray(open_image(data[: int(len(data) * share)]), np.float32)
        shown = whole
        if kind == "BMP":  # its last row comes first
            part, shown = part[::-1], whole[::-1]
        top = int(480 * share * 0.8) if spelling != "progressive" else 0
        assert part.shape == whole.shape
        assert np.abs(part[:top] - shown[:top]).mean() < 3 if top else np.abs(part - whole).mean() < 30
        with pytest.raises(ImageError, match="cut short"):
            open_image(data[: int(len(data) * share)], ImageLimits(damaged=False))


def test_a_jpeg_without_its_end_marker_is_whole_but_marked() -> None:
    data = large_scene("JPEG")
    picture = open_picture(data[:-2])
    assert picture.damage is not None
    assert np.array_equal(np.asarray(picture.image), np.asarray(open_image(data)))
    assert open_picture(data).damage is None


@pytest.mark.parametrize("size", [(11648, 8736), (12000, 9000)])
def test_photos_of_cameras_on_sale(size: tuple[int, int]) -> None:
    """A flat gray picture, so that writing and reading it stays quick."""
    file = io.BytesIO()
    Image.new("L", size, 77).save(file, "PNG", compress_level=1)
    assert open_image(file.getvalue()).size == size
    with pytest.raises(ImageError, match=r"the limit is 50,000,000 \(ImageLimits.max_pixels\)"):
        open_image(file.getvalue(), ImageLimits(max_pixels=50_000_000))


@pytest.mark.parametrize("kind", [*FORMATS, "HEIF"])
def test_the_bytes_decide_whatever_the_name_says(kind: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(SCENE).save(file, quality=90)
    else:
        SCENE.save(file, kind)
    for suffix in (".heic", ".jpg", ".png", ".pdf", ".txt", ""):
        path = tmp_path / f"photo{suffix}"
        path.write_bytes(file.getvalue())
        assert np.abs(np.asarray(open_image(path), np.float32) - np.asarray(SCENE)).mean() < 14
        assert open_photo(path).size == SCENE.size
