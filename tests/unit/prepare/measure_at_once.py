"""How much memory images take that four threads decode at once, each kind in turn: a process of its own, JSON lines."""

from __future__ import annotations

import ctypes
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.pixel_budget import DECODING
from babelclip.serve.freed_memory import large_blocks_go_back

STATUS = Path("/proc/self/status")
SIDE = 2900  # above 32 MiB of four bytes a pixel, so that the C library gives what is freed back at once
THREADS = 4
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "progressive jpeg": ("RGB", "JPEG", {"progressive": True}),
    "gray jpeg": ("L", "JPEG", {}),
    "ink jpeg": ("CMYK", "JPEG", {}),
    "png": ("RGB", "PNG", {"compress_level": 1}),
    "transparent png": ("RGBA", "PNG", {"compress_level": 1}),
    "gray and transparent png": ("LA", "PNG", {"compress_level": 1}),
    "16-bit png": ("I;16", "PNG", {"compress_level": 1}),
    "palette png": ("P", "PNG", {"compress_level": 1, "transparency": 3}),
    "bits png": ("1", "PNG", {"compress_level": 1}),
    "webp": ("RGBA", "WEBP", {"lossless": True, "quality": 0, "method": 0}),
    "gif": ("P", "GIF", {}),
    "bmp": ("RGB", "BMP", {}),
}


def megabytes(name: str) -> float:
    return int(STATUS.read_text().split(f"{name}:")[1].split()[0]) / 1024


def encoded(mode: str, format_: str, options: dict[str, Any]) -> bytes:
    """A picture that is to be turned."""
    file, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6
    Image.new(mode, (SIDE, SIDE)).save(file, format_, **options, exif=turned)
    return file.getvalue()


def main() -> None:
    large_blocks_go_back()  # as a model's process does
    DECODING.total, DECODING.spare = SIDE * SIDE, 0
    published = ImagePreparer(ImagePrepareConfig(size=224, resize_mode="shortest", interpolation="bicubic"))
    for kind, form in KINDS.items():
        content = encoded(*form)
        for prepared, preparer in (("published", published), ("upright", published.upright())):
            ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not taken for what is free now
            before = megabytes("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            with ThreadPoolExecutor(THREADS) as threads:
                assert len(list(threads.map(preparer.crop, [content] * THREADS))) == THREADS
            taken = (megabytes("VmHWM") - before) * 2**20
            print(json.dumps({"kind": kind, "prepared": prepared, "pixels": SIDE**2, "bytes": taken}))


if __name__ == "__main__":
    main()
