"""Make docs/screenshots: the page in Chromium over the demo's photos, so that the docs show what there is to see.

    python tools/render_screenshots.py

Needs `babelclip[server]`, playwright, Chromium (apt-get install chromium) and fonts for the scripts that are shown
(fonts-noto-core, fonts-noto-cjk). The photos' authors stand in src/babelclip/demo/photos/ATTRIBUTION.json.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "src" / "babelclip" / "demo" / "photos"
SHOWN = ROOT / "docs" / "screenshots"
SHARPNESS = 1.5  # pixels of the picture for one of the page


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is missing: apt-get install chromium")
    SHOWN.mkdir(exist_ok=True)
    with served_page() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = opened(browser, f"{address}/?q=夜晚亮着灯的桥", width=1000, height=640)
        expect(page.locator("#results .name").first).to_contain_text("bridge-at-night")
        save(page, "results")
        page = opened(browser, f"{address}/?q=un chat couché", width=1000, height=640)
        page.locator("#results a").first.click()
        page.get_by_role("button", name="Where is it seen?").click()
        expect(page.locator("#large")).not_to_have_class("busy", timeout=60_000)
        save(page, "where")
        page = opened(
            browser, f"{address}/?q=雪の積もった山", width=390, height=720, locale="zh-CN", color_scheme="dark"
        )
        save(page, "phone")
        browser.close()


@contextmanager
def served_page() -> Iterator[str]:
    """The address of `babelclip ui` with the demo's photos indexed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(tempfile.gettempdir()) / "Photos"  # its name is in the pictures
        shutil.copytree(PHOTOS, folder, ignore=shutil.ignore_patterns("*.json"))
        environment = {**os.environ, "BABELCLIP_INDEX": f"{name}/index.db", "BABELCLIP_CACHE": f"{name}/cache"}
        command = [sys.executable, "-m", "babelclip"]
        subprocess.run([*command, "index", str(folder), "--quiet"], env=environment, check=True)
        with subprocess.Popen(
            [*command, "ui", "--no-open", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            try:
                yield server.stdout.readline().strip()
            finally:
                server.terminate()
                shutil.rmtree(folder)


def opened(browser: Browser, address: str, width: int, height: int, locale: str = "en-US", **more: Any) -> Page:
    """A page of a size in pixels, all of its pictures drawn."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=SHARPNESS, locale=locale, **more
    )
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    return page


def save(page: Page, name: str) -> None:
    """What is seen of a page, as WebP."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(SHOWN / f"{name}.webp", quality=82, method=6)
    print(SHOWN / f"{name}.webp", (SHOWN / f"{name}.webp").stat().st_size)


if __name__ == "__main__":
    main()
