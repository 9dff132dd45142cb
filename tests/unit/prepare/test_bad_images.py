"""Everything that is no image gets an error of its own, which names the item and the reason, and quotes no content."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from babelclip.errors import ImageError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer

FILES = Path(__file__).parents[2] / "fixtures" / "images" / "files"
PREPARER = ImagePreparer(ImagePrepareConfig(size=56))
PNG = (FILES / "04_tiny.png").read_bytes()


def cut(name: str, share: float = 0.5) -> bytes:
    data = (FILES / name).read_bytes()
    return data[: int(len(data) * share)]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"\0" * 100) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def closed_image() -> Image.Image:
    image = Image.open(FILES / "16_jpeg420.jpg")
    image.close()
    return image


def closed_file() -> io.BytesIO:
    file = io.BytesIO(PNG)
    file.close()
    return file


def zeros(*shape: int, dtype: Any = np.uint8) -> Any:
    return np.zeros(shape, dtype=dtype)


# what it is: (the item, how its name begins, the reason)
BAD: dict[str, tuple[Any, str, str]] = {
    "None": (None, "item of type NoneType", "expected a path"),
    "int": (7, "item of type int", "expected a path"),
    "float NaN": (float("nan"), "item of type float", "expected a path"),
    "list": ([1, 2], "item of type list", "expected a path"),
    "dict as the API takes it": ({"image": "x.png"}, "item of type dict", "expected a path"),
    "empty bytes": (b"", "image of 0 bytes", "no bytes"),
    "empty bytearray": (bytearray(), "image of 0 bytes", "no bytes"),
    "empty str": ("", "image ''", "empty string"),
    "missing path": ("/nowhere/cat.jpg", "image '/nowhere/cat.jpg'", "no such file"),
    "missing Path": (Path("nowhere") / "cat.jpg", "image 'nowhere/cat.jpg'", "no such file"),
    "directory": (str(FILES), "image '", "is a folder"),
    "path through a file": (str(FILES / "04_tiny.png" / "x"), "image '", "no such file"),
    "device": ("/dev/null", "image '/dev/null'", "device or pipe"),
    "a sentence": ("a photo of a cat", "image 'a photo of a cat'", "no such file"),
    "path with NUL": ("a\0b.png", "image 'a\\x00b.png'", "no such file"),
    "path with a lone surrogate": ("a\ud800.png", "image 'a\\ud800.png'", "no such file"),
    "path that is too long": ("x" * 5000, "image 'xxx", "File name too long"),
    "URL": ("https://example.org/cat.jpg", "image 'https://example.org/cat.jpg'", "nothing is fetched here"),
    "URL of a bucket": ("s3://bucket/cat.jpg", "image 's3:", "nothing is fetched here"),
    "text": (b"just some words", "image of 15 bytes", "is none of the accepted formats JPEG"),
    "zeros": (bytes(1000), "image of 1,000 bytes", "is none of the accepted formats JPEG"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image of", "an SVG drawing"),
    "SVG with a declaration": (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "image of", "an SVG drawing"),
    "HTML": (b"\n<!DOCTYPE html><title>404</title>", "image of", "an HTML page"),
    "PDF": (b"%PDF-1.7 ...", "image of", "a PDF document"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0", "image of", "a HEIC photo whose data are broken"),
    "RAW": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "image of", "a RAW photo"),
    "video": (b"\0\0\0\x18ftypisom\0\0\0\0", "image of", "a video"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "image of", "a Git LFS pointer"),
    "JPEG without a picture": (cut("16_jpeg420.jpg", 0.03), "image of", "JPEG header is broken or cut short"),
    "PNG without a picture": (cut("01_landscape.png", 0.001), "image of", "PNG data are broken, cut short"),
    "WebP cut short": (cut("18_webp.webp", 0.01), "image of", "its WEBP header is broken or cut short"),
    "GIF cut short": (cut("17_anim.gif", 0.05), "image of", "its GIF header is broken or cut short"),
    "PNG signature alone": (PNG[:8], "image of 8 bytes", "its PNG header is broken or cut short"),
    "JPEG start alone": (b"\xff\xd8\xff", "image of 3 bytes", "its JPEG header is broken or cut short"),
    "PNG with a wrong checksum": (PNG[:20] + b"\xff" + PNG[21:], "image of", "its PNG header is broken or cut short"),
    "PNG with too little data": (png(300, 300), "image of", "PNG data are broken, cut short"),
    "PNG of no size": (png(0, 5), "image of", "its PNG header is broken"),
    "header bomb": (png(60_000, 60_000), "image of", "3,600,000,000, the limit is 1,000,000,000"),
    "side over the limit": (png(2_000_000, 1), "image of", "max_side"),
    "array of floats": (zeros(4, 4, 3, dtype=np.float32), "array of float32, shape (4, 4, 3)", "expected uint8"),
    "array of NaN": (np.full((4, 4, 3), np.nan), "array of float64", "expected uint8"),
    "array of int64": (zeros(4, 4, 3, dtype=np.int64), "array of int64", "expected uint8"),
    "array of bool": (zeros(4, 4, 3, dtype=bool), "array of bool", "expected uint8"),
    "array of objects": (np.array([None]), "array of object", "expected uint8"),
    "gray array": (zeros(4, 4), "array of uint8, shape (4, 4)", "gray becomes RGB"),
    "array with alpha": (zeros(4, 4, 4), "array of uint8", "expected the shape (H, W, 3)"),
    "array with channels first": (zeros(3, 8, 9), "array of uint8", "channels go last"),
    "batch of arrays": (zeros(2, 4, 4, 3), "array of uint8", "one by one"),
    "0-d array": (zeros(), "array of uint8, shape ()", "expected the shape"),
    "empty array": (zeros(0, 5, 3), "array of uint8", "is empty, 5 x 0"),
    "array over the limit": (np.broadcast_to(zeros(1, 1, 3), (40_000, 40_000, 3)), "array of uint8", "max_pixels"),
    "empty PIL image": (Image.new("RGB", (0, 5)), "PIL image of mode RGB, 0 x 5", "is empty"),
    "closed PIL image": (closed_image(), "PIL image of mode RGB", "it is closed, broken"),
    "closed file": (closed_file(), "item of type BytesIO", "reading it failed (ValueError)"),
    "text file object": (io.StringIO("words"), "item of type StringIO", "open the file in mode 'rb'"),
    "empty file object": (io.BytesIO(), "item of type BytesIO", "no bytes"),
    "data URI of bad base64": ("data:image/png;base64,!!!!", "data URI of 26 characters", "base64 is broken"),
    "data URI cut short": ("data:image/png;base64,iVBORw0KGgo", "data URI", "base64 is broken"),
    "data URI of no image": ("data:text/plain;base64,aGk=", "data URI", "holds 'text/plain', not an image"),
    "data URI without base64": ("data:image/png,abc", "data URI", "not in base64"),
    "data URI without a comma": ("data:image/png;base64", "data URI", "not a complete data URI"),
    "data URI of nothing": ("data:image/png;base64,", "data URI", "no bytes"),
    "data URI of a text": ("data:image/png;base64,aGVsbG8=", "data URI", "is none of the accepted formats JPEG"),
    "data URI of an SVG": (
        "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(),
        "data URI",
        "an SVG drawing",
    ),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_input_names_the_item_and_the_reason(what: str) -> None:
    item, name, reason = BAD[what]
    with pytest.raises(ImageError) as caught:
        PREPARER(item)
    message = str(caught.value)
    assert message.startswith(name)
    assert reason in message
    assert ": " in message
    assert len(message) < 450
    assert "0x" not in message  # no addresses of objects


def test_a_bomb_is_refused_with_warnings_as_errors_too() -> None:
    with pytest.raises(ImageError, match="the limit is"):
        PREPARER(png(60_000, 60_000))


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:  # the administrator may read everything, so the refusal is played
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "secret.png"
    file.write_bytes(PNG)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ImageError, match=r"secret.png': Permission denied"):
        PREPARER(file)


def test_a_reader_that_fails() -> None:
    class Failing:
        def read(self, _: int) -> bytes:
            raise ConnectionResetError("secret details")

    with pytest.raises(ImageError, match=r"reading it failed \(ConnectionResetError\)") as caught:
        PREPARER(Failing())  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_never_raise_anything_else(name: str) -> None:
    """Bytes flipped and cut at random: an image or an ImageError, nothing third."""
    data, random = (FILES / name).read_bytes(), np.random.default_rng(len(name))
    for _ in range(25):
        damaged = bytearray(data[: int(random.integers(1, len(data) + 1))])
        for position in random.integers(0, min(len(damaged), 400), 3):
            damaged[position] = int(random.integers(0, 256))
        with suppress(ImageError):
            assert np.isfinite(PREPARER(damaged)).all()
