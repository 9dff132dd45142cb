"""Images decoded at once take what is written down, in every format and mode, however many threads bring them."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.pixel_budget import BYTES_PER_PIXEL, DECODING, PixelBudget

STATUS = Path("/proc/self/status")
SIDE = 2900  # above 32 MiB of four bytes a pixel, so that the C library gives what is freed back at once
THREADS = 4
CONSTANT = 48 * 2**20  # 16-bit pictures are brought down by parts
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


@pytest.mark.stress
@pytest.mark.skipif(not STATUS.exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("prepared", ["published", "upright"])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_images_that_are_decoded_at_once(kind: str, prepared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, format_, options = KINDS[kind]
    file = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new(mode, (SIDE, SIDE)).save(file, format_, **options, exif=turned)
    content = file.getvalue()
    preparer = ImagePreparer(ImagePrepareConfig(size=224, resize_mode="shortest", interpolation="bicubic"))
    preparer = preparer.upright() if prepared == "upright" else preparer
    monkeypatch.setattr(DECODING, "total", SIDE * SIDE)
    monkeypatch.setattr(DECODING, "spare", 0)
    before = megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    with ThreadPoolExecutor(THREADS) as threads:
        assert len(list(threads.map(preparer.crop, [content] * THREADS))) == THREADS
    taken = (megabytes("VmHWM") - before) * 2**20
    assert taken < CONSTANT + BYTES_PER_PIXEL * SIDE**2, f"{taken / SIDE**2:.1f} bytes for a pixel"


def test_one_that_is_larger_than_all_has_its_turn_alone() -> None:
    budget, entered = PixelBudget(10), threading.Event()

    def small() -> None:
        with budget.room(1):
            entered.set()

    with ThreadPoolExecutor(1) as threads:
        with budget.room(25):
            threads.submit(small)
            assert not entered.wait(0.05)
        assert entered.wait(10)


def test_what_failed_gives_its_room_back() -> None:
    budget = PixelBudget(10)
    for _ in range(3):
        with pytest.raises(KeyError), budget.room(10):
            raise KeyError
    with budget.room(10):
        pass
