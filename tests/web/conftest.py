"""A real server over real photos, and a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

ALBUM = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CALM = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photos as JPEGs, one of them with a date, one turned by EXIF, one as HEIC; and a broken one."""
    folder = tmp_path_factory.mktemp("photos")
    for file in ALBUM.glob("*.webp"):
        picture = Image.open(file).convert("RGB")
        exif = Image.Exif()
        if file.stem == "dog":
            exif.get_ifd(0x8769)[0x9003] = "2024:07:01 12:30:00"
        if file.stem == "bicycle":
            pillow_heif.from_pillow(picture).save(folder / "bicycle.heic", quality=90)
            continue
        if file.stem == "elephants":
            picture = picture.transpose(Image.Transpose.ROTATE_90)
            exif[0x0112] = 6
        picture.save(folder / f"{file.stem}.jpg", quality=92, exif=exif)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder.parent / "secret.jpg").write_bytes((folder / "cat.jpg").read_bytes())
    return folder


@pytest.fixture(scope="session")
def address(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of `babelclip ui`, with the photos indexed."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "BABELCLIP_DATA": str(home), "BABELCLIP_CACHE": str(home / "cache")}
    babelclip = [sys.executable, "-m", "babelclip"]
    subprocess.run([*babelclip, "index", str(photos)], env=environment, capture_output=True, check=False)
    command = [*babelclip, "ui", "--port", "0", "--no-open"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()
        assert server.wait(20) is not None
