"""Prints a line of JSON for each format and mode: memory that a small and a large picture take to be shaped.

A program of its own: each picture is decoded in a fork of it, so that no memory of another is measured.
"""

from __future__ import annotations

import gc
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer

SMALL, LARGE = (1500, 1000), (3000, 1800)
QUICK: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 1}, "WEBP": {"method": 0, "quality": 50}, "AVIF": {"speed": 10},
}  # fmt: skip
KINDS = (
    ("PNG", "RGBA", ""), ("PNG", "RGBA", "profile turned"), ("PNG", "RGB", "profile turned"), ("PNG", "LA", "profile"),
    ("PNG", "P", "transparency"), ("PNG", "I;16", "turned"), ("PNG", "L", "profile"), ("JPEG", "CMYK", "turned"),
    ("JPEG", "CMYK", "progressive turned"), ("JPEG", "RGB", "profile turned"), ("JPEG", "RGB", "progressive profile"),
    ("WEBP", "RGBA", "profile turned"), ("WEBP", "RGB", "turned"), ("AVIF", "RGBA", "turned"), ("AVIF", "RGB", ""),
    ("HEIF", "RGBA", ""), ("HEIF", "RGB", ""), ("TIFF", "F", "turned"), ("TIFF", "I", "turned deflate"),
    ("TIFF", "RGBA", "profile turned deflate"), ("TIFF", "CMYK", "turned"), ("TIFF", "LAB", "turned"),
    ("GIF", "P", "transparency"), ("BMP", "RGB", ""), ("PPM", "RGB", ""),
)  # fmt: skip


def profile() -> bytes:
    """One that a viewer heeds, because it is not called sRGB."""
    found = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return bytes(found.replace(b"s\0R\0G\0B", b"o\0d\0d\0!"))


def file_of(kind: str, mode: str, notes: str, size: tuple[int, int]) -> bytes:
    pattern = np.random.default_rng(0).integers(0, 255, (40, 40, 4), dtype=np.uint8)
    picture = Image.fromarray(pattern).resize(size)
    gray = np.asarray(picture.convert("L"))
    if mode in ("I;16", "I", "F"):
        kinds: dict[str, Any] = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        picture = Image.fromarray(gray.astype(kinds[mode]) * 200)
    elif mode == "P":
        picture = picture.convert("RGB").quantize(64)
    else:
        picture = picture.convert(mode) if mode != "LAB" else _lab(picture.convert("RGB"))
    options = dict(QUICK.get(kind, {}))
    if "profile" in notes:
        options["icc_profile"] = profile()
    if "turned" in notes:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    if "transparency" in notes:
        options["transparency"] = 3
    if "progressive" in notes:
        options["progressive"] = True
    if "deflate" in notes:
        options |= {"compression": "tiff_adobe_deflate", "tiffinfo": {278: size[1]}}  # all rows in one strip
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _lab(picture: Image.Image) -> Image.Image:
    lab = ImageCms.createProfile("LAB")
    shown = ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    assert shown is not None
    return shown


def memory(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def in_a_fork(work: Any) -> bytes:
    """What it gives, of a process of its own."""
    reading, writing = os.pipe()
    if not os.fork():
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(work())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.wait()
    return content


def taken(content: bytes) -> bytes:
    """Bytes of memory at most, as a number in text."""
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    PREPARER.crop(content)
    return str(memory("VmHWM") - before).encode()


def measured() -> Iterator[dict[str, object]]:
    for kind, mode, notes in KINDS:
        line: dict[str, object] = {"format": kind, "mode": mode, "with": notes}
        for name, size in (("small", SMALL), ("large", LARGE)):
            content = in_a_fork(lambda: file_of(kind, mode, notes, size))  # noqa: B023
            gc.collect()
            found = in_a_fork(lambda: taken(content))  # noqa: B023
            line[name] = {"pixels": size[0] * size[1], "bytes": int(found)}
        yield line


if __name__ == "__main__":
    Image.init()
    pillow_heif.register_heif_opener()
    PREPARER = ImagePreparer(ImagePrepareConfig(size=224)).upright()
    PREPARER.crop(Image.new("RGB", (300, 300)))
    for each in measured():
        print(json.dumps(each), flush=True)
