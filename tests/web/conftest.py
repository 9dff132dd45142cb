"""A real server over real photos, and a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ALBUM = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
COMMAND = [sys.executable, "-m", "babelclip"]
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
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "these tests need Chromium: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("BABELCLIP_NEEDS_BROWSER") else pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CALM))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def environment(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of commands that have the photos in their default index."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "BABELCLIP_INDEX": str(home / "index.db"), "BABELCLIP_CACHE": str(home / "cache")}
    subprocess.run([*COMMAND, "index", str(photos)], env=environment, capture_output=True, check=False)
    return environment


@pytest.fixture
def indexing(photos: Path, tmp_path: Path) -> Iterator[str]:
    """Address of `babelclip ui FOLDER` as it begins to index, with every photo five times."""
    folder = tmp_path / "Photos"
    folder.mkdir()
    for number in range(5):
        for file in photos.glob("*.jpg"):
            (folder / f"{number}-{file.name}").write_bytes(file.read_bytes() + bytes([number]))
    home = tmp_path / "home"
    environment = {**os.environ, "BABELCLIP_INDEX": str(home / "index.db"), "BABELCLIP_CACHE": str(home / "cache")}
    with running(["ui", str(folder), "--no-open"], environment) as (address, _):
        yield address


@pytest.fixture(scope="session")
def address(environment: dict[str, str]) -> Iterator[str]:
    """Of `babelclip ui`, with the photos indexed."""
    with running(["ui", "--no-open"], environment) as (address, _):
        yield address


@pytest.fixture(scope="session")
def served(environment: dict[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`babelclip serve --ui`, with the photos indexed."""
    with running(["serve", "--ui"], environment) as pair:
        yield pair


@contextmanager
def running(
    command: list[str], environment: dict[str, str], log: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server's address and its process; log: where its stderr goes."""
    with (
        open(log or os.devnull, "w", encoding="utf-8") as errors,
        subprocess.Popen(
            [*COMMAND, *command, "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as server,
    ):
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), server
        finally:
            server.terminate()
            assert server.wait(40) is not None
