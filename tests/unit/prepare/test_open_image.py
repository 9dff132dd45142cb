"""Every way in gives the same pixels; orientation and alpha do what they say; limits hold before decoding."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from babelclip.errors import ConfigError, ImageError
from babelclip.prepare.open_image import UPLOADS, ImageLimits, open_image, stated_size

FILES = Path(__file__).parents[2] / "fixtures" / "images" / "files"
PHOTO = FILES / "01_landscape.png"


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, channels: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes of data do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_every_way_in_gives_the_same_image(tmp_path: Path) -> None:
    expected = np.asarray(Image.open(PHOTO).convert("RGB"))
    data = PHOTO.read_bytes()
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    wrapped = "data:image/png;charset=binary;base64," + base64.encodebytes(data).decode()  # with line ends
    (tmp_path / "naïve 图片").write_bytes(data)  # no suffix: the content decides
    sources: list[Any] = [PHOTO, str(PHOTO), data, bytearray(data), memoryview(data), io.BytesIO(data), uri, wrapped]
    sources += [Image.open(PHOTO), expected, tmp_path / "naïve 图片", uri.replace("data:", "DATA:"), expected[::1]]
    for source in sources:
        image = open_image(source)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), expected)
    with PHOTO.open("rb") as file:
        file.seek(1000)  # somebody looked at it before: the whole file is meant
        np.testing.assert_array_equal(np.asarray(open_image(file)), expected)


def test_a_stream_that_cannot_seek(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, (FILES / "04_tiny.png").read_bytes())
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        assert open_image(stream).size == (7, 5)


def test_arrays_of_any_layout_and_later_writes() -> None:
    array = noise(9, 7)
    for view in (array[:, ::-1], np.asfortranarray(array), array[::2, ::3]):
        np.testing.assert_array_equal(np.asarray(open_image(view)), view)
    image = open_image(array)
    array[:] = 0
    assert np.asarray(image).any()


def test_what_was_given_is_not_changed() -> None:
    given = Image.open(FILES / "07_palette_transparent.png")
    before = dict(given.info)
    open_image(given)
    open_image(given, alpha="white", orientation="upright")
    assert given.mode == "P"
    assert given.info == before
    rgb = Image.new("RGB", (4, 4))
    open_image(rgb).putpixel((0, 0), (255, 255, 255))
    assert rgb.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_accepted_formats(kind: str) -> None:
    assert open_image(encoded(Image.fromarray(noise(32, 24)), kind)).size == (32, 24)


@pytest.mark.parametrize("kind", ["ICO", "EPS", "JPEG2000", "TGA"])
def test_other_formats_are_refused_and_can_be_allowed(kind: str) -> None:
    data = encoded(Image.fromarray(noise(32, 32)), kind)
    with pytest.raises(ImageError, match="is none of the accepted formats JPEG, PNG"):
        open_image(data)
    if kind != "EPS":  # Pillow needs a Ghostscript for that one
        assert open_image(data, ImageLimits(formats=(kind,))).size == (32, 32)


def test_a_format_that_the_caller_excludes() -> None:
    with pytest.raises(ImageError, match="is a PNG image, accepted are JPEG"):
        open_image(PHOTO, ImageLimits(formats=("JPEG",)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_upright_undoes_each_orientation_once(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 48), (0, 0, 0))
    upright.paste((255, 0, 0), (0, 0, 16, 24))  # top left
    upright.paste((0, 255, 0), (16, 0, 32, 24))  # top right
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera would store it: the inverse of what EXIF asks for
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    data = encoded(stored, kind, exif=exif, **options)

    shown = open_image(data, orientation="upright")
    assert open_image(shown, orientation="upright").tobytes() == shown.tobytes()  # not turned twice
    assert shown.size == (32, 48)
    for point, color in (((4, 4), (255, 0, 0)), ((28, 4), (0, 255, 0)), ((4, 40), (0, 0, 0)), ((28, 40), (0, 0, 0))):
        assert np.abs(np.subtract(shown.getpixel(point), color)).max() < 12
    held = Image.open(io.BytesIO(data))
    assert open_image(held, orientation="upright").size == (32, 48)
    if kind != "TIFF":  # Pillow itself turns a TIFF while loading it, in the reference too
        assert open_image(data).size == stored.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_image() -> None:
    data = encoded(Image.fromarray(noise(16, 16)), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert open_image(data, orientation="upright").size == (16, 16)


@pytest.mark.parametrize(
    "value",
    [b"\0\2\0\0\0\3up\0\0", b"\0\3\0\0\0\1\0\0\0\0", b"\0\3\0\0\0\1\0\x09\0\0", b"\0\3\0\0\0\2\0\6\0\6"],
    ids=["a word", "0", "9", "two numbers"],
)
def test_an_orientation_that_is_none_is_ignored(value: bytes) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + b"\0\1" + b"\x01\x12" + value + b"\0\0\0\0"  # one tag: type, count, value
    image = Image.fromarray(noise(32, 16))
    shown = open_image(encoded(image, "PNG", exif=exif), orientation="upright")
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(image))


def test_white_under_transparency_in_every_mode() -> None:
    array = np.zeros((4, 4, 4), dtype=np.uint8)
    array[..., 0], array[:2, :, 3], array[2, :, 3] = 200, 255, 128
    rgba = Image.fromarray(array)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([200, 0, 0, 9, 9, 9])
    palette.paste(1, (0, 2, 4, 4))
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    for image, options, expected in (
        (rgba, {}, [(200, 0, 0), (227, 127, 127), (255, 255, 255)]),
        (rgba.convert("LA"), {}, [(60, 60, 60), (157, 157, 157), (255, 255, 255)]),
        (palette, {"transparency": 1}, [(200, 0, 0), (255, 255, 255), (255, 255, 255)]),
        (palette, {"transparency": bytes([128, 0])}, [(227, 127, 127), (255, 255, 255), (255, 255, 255)]),
        (keyed, {"transparency": (1, 2, 3)}, [(255, 255, 255)] * 3),
    ):
        shown = open_image(encoded(image, **options), alpha="white")
        assert [shown.getpixel((0, row)) for row in (0, 2, 3)] == expected
        hidden = open_image(encoded(image, **options), alpha="drop")  # what lies under it shows, without a warning
        np.testing.assert_array_equal(np.asarray(hidden), np.asarray(_no_notes(image).convert("RGB")))


def _no_notes(image: Image.Image) -> Image.Image:
    image.info.clear()
    return image


def test_only_the_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 255, 0))]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert open_image(data).getpixel((4, 4)) == (255, 0, 0)


def test_pixels_are_counted_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("decoded an image over the limit")

    data, small = encoded(Image.fromarray(noise(30, 20))), ImageLimits(max_pixels=599)
    assert open_image(data, ImageLimits(max_pixels=600)).size == (30, 20)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    monkeypatch.setattr("PIL.Image.Image.load", decoded)
    for source in (data, io.BytesIO(data), Image.open(io.BytesIO(data)), noise(30, 20)):
        with pytest.raises(ImageError, match=r"30 x 20 pixels are 600, the limit is 599 \(ImageLimits.max_pixels\)"):
            open_image(source, small)
    with pytest.raises(ImageError, match=r"a side of 30 pixels, the limit is 29 \(ImageLimits.max_side\)"):
        open_image(data, ImageLimits(max_side=29))


def test_bytes_are_counted_before_reading(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(noise(30, 20)), "BMP")
    limits, fits = ImageLimits(max_bytes=len(data) - 1), ImageLimits(max_bytes=len(data))
    (tmp_path / "a.bmp").write_bytes(data)
    uri = "data:image/bmp;base64," + base64.b64encode(data).decode()
    sources = (data, bytearray(data), lambda: io.BytesIO(data), tmp_path / "a.bmp", uri)
    for source in sources:
        given: Any = source() if callable(source) else source
        with pytest.raises(ImageError, match=r"the limit is [\d,]+ \(ImageLimits.max_bytes\)"):
            open_image(given, limits)
        given = source() if callable(source) else source
        assert open_image(given, fits).size == (30, 20)


def test_too_many_bytes_are_not_even_read_or_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("touched an item over the limit")

    (tmp_path / "a.bin").write_bytes(bytes(1001))
    monkeypatch.setattr(Path, "open", touched)
    monkeypatch.setattr(base64, "b64decode", touched)
    for item in (tmp_path / "a.bin", "data:image/png;base64," + "A" * 1340):
        with pytest.raises(ImageError, match="max_bytes"):
            open_image(item, ImageLimits(max_bytes=1000))


def test_an_endless_stream_ends_at_the_limit() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= 1001, "asked for everything"
            return b"x" * size

    with pytest.raises(ImageError, match="max_bytes"):
        open_image(Endless(), ImageLimits(max_bytes=1000))  # type: ignore[arg-type]


def test_default_limits_hold_against_a_header_bomb() -> None:
    with pytest.raises(ImageError, match="pixels"):
        open_image(png_header(60_000, 60_000))
    with pytest.raises(ImageError, match="the limit is 50,000,000"):
        open_image(png_header(11_000, 11_000), UPLOADS)
    with pytest.raises(ImageError, match="max_side"):
        open_image(png_header(1_000_001, 1))


def test_limits_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ImageLimits(max_pixels=0)
    with pytest.raises(ConfigError, match="tuple"):
        ImageLimits(formats="PNG")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no formats \['PGN'\]"):
        ImageLimits(formats=("PGN",))


def test_the_stated_size_needs_no_pixels() -> None:
    assert stated_size(png_header(640, 20)) == (640, 20)
    assert stated_size(PHOTO) == open_image(PHOTO).size
    with pytest.raises(ImageError, match="the limit is 100 "):
        stated_size(png_header(11, 10), ImageLimits(max_pixels=100))
    with pytest.raises(ImageError, match="none of the accepted formats"):
        stated_size(b"words")
