"""How soon the search page shows something: a person's typing in a real Chromium, over an index of many photos.

Most rows are resampled from those of real photos, with noise; each has a file of its own (a link to its photo) and a
thumbnail that nobody has asked for before, as in a new index.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from babelclip.demo.album import read_album
from babelclip.encoder import Encoder
from babelclip.search.index import Index
from babelclip.search.store import Row
from babelclip.vectors import finish

ROWS = 50_000
PHOTOS = 1000
SIZE = (1152, 864)
"""Pixels that the small photos of the training data are brought to, so that drawing a thumbnail costs what it does."""
QUERIES = 24
TEMPI = {"fast": 60, "slow": 180}
"""Milliseconds between two keys: below the page's pause before it asks, and above it, when it asks after every key."""
STEP = 5000
CALM = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
WATCH = """() => {
    const results = document.getElementById("results");
    const painted = (then) => requestAnimationFrame(() => setTimeout(() => then(performance.now())));
    window.seen = {};
    const watcher = new MutationObserver(() => {
        // Results for the first letters alone do not count.
        if (new URLSearchParams(location.search).get("q") !== document.getElementById("q").value) return;
        const seen = window.seen = { rows: results.children.length };
        painted((at) => { seen.cell = at; });
        const image = results.querySelector("img");
        const done = () => painted((at) => { seen.picture = at; });
        if (image) image.complete ? done() : image.addEventListener("load", done, { once: true });
    });
    watcher.observe(results, { childList: true });
    document.getElementById("q").addEventListener("input", () => {
        window.key = performance.now();
        window.seen = {};
    });
}"""


def measure_page(encoder: Encoder, photos: Iterator[bytes], chromium: str) -> dict[str, Any]:
    """Milliseconds until the first result; photos: files of at least ``PHOTOS``."""
    queries = [query.text for query in read_album().queries][:QUERIES]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill_index(encoder, photos, folder)
        with running_page(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(CALM))
            times: dict[str, Any] = {}
            for tempo, pause in TEMPI.items():
                page = browser.new_page(locale="en-US", viewport={"width": 1280, "height": 800})
                page.goto(address)
                seen = [typed(page, query, pause) for query in queries]
                times[f"typed_{tempo}"] = {
                    "milliseconds_between_keys": pause,
                    "first_result": percentiles([cell for cell, _ in seen]),
                    "first_thumbnail": percentiles([picture for _, picture in seen]),
                }
                page.close()
            browser.close()
            times["plain_form"] = percentiles([form_time(address, query) for query in queries])
    return {
        "rows": ROWS,
        "real_photos": PHOTOS,
        "pixels": SIZE[0] * SIZE[1],
        "vectors": "those of the real photos, and resampled from them with noise",
        "thumbnails": "each drawn for the first time",
        "queries": len(queries),
        "milliseconds": times,
    }


def fill_index(encoder: Encoder, photos: Iterator[bytes], folder: Path) -> None:
    """``index.db`` of ``ROWS`` photos in a folder, with a file for each."""
    album = folder / "photos"
    album.mkdir()
    for number, content in enumerate(islice(photos, PHOTOS)):
        photo = Image.open(io.BytesIO(content)).convert("RGB")
        photo.resize(SIZE, Image.Resampling.BICUBIC).save(album / f"{number:05}.jpg", quality=90)
    generator = np.random.default_rng(0)
    with Index.open(f"sqlite:{folder / 'index.db'}", encoder, create=True) as index:
        index.add([album])
        store = index.store()
        assert store is not None
        real = [row for row in store.get([row.id for row in store.known(None)]) if row is not None]
        vectors = np.stack([row.vector for row in real])
        spread = 0.5 * vectors.std(axis=0)
        for first in range(len(real), ROWS, STEP):
            chosen = generator.integers(0, len(real), min(STEP, ROWS - first))
            noise = generator.normal(0, 1, (len(chosen), encoder.dim)).astype(np.float32)
            made = finish(vectors[chosen] + noise * spread)
            store.upsert([_copied(real[at], first + place, made[place]) for place, at in enumerate(chosen)])
        store.compact()
        assert store.count(None) == ROWS


def _copied(row: Row, number: int, vector: np.ndarray) -> Row:
    """A row as of another photo: its own file, hence its own thumbnail."""
    path = Path(str(row.metadata["path"]))
    link = path.with_name(f"{number:05}.jpg")
    os.link(path, link)
    facts = {"path": str(link), "name": link.name, "digest": f"{number:032x}"}
    return replace(row, id=f"{number:032x}", vector=vector, metadata={**row.metadata, **facts})


@contextmanager
def running_page(folder: Path) -> Iterator[str]:
    """The address of `babelclip ui`, warm, over the index of a folder."""
    command = [sys.executable, "-m", "babelclip", "ui", "--no-open", "--port", "0", "--index", str(folder / "index.db")]
    environment = {**os.environ, "BABELCLIP_CACHE": str(folder / "cache")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            form_time(address, "warm")
            yield address
        finally:
            server.terminate()


def typed(page: Page, query: str, pause: int) -> tuple[float, float]:
    """Milliseconds from the last key to the first result, and to its thumbnail, both on the screen."""
    page.goto(page.url.partition("?")[0])
    page.evaluate(WATCH)
    page.wait_for_load_state("networkidle")  # a person looks at the page first: what it shows unasked has come
    page.locator("#q").press_sequentially(query, delay=pause)
    for _ in range(600):
        page.wait_for_timeout(25)
        key, seen = page.evaluate("[window.key, window.seen]")
        if "picture" in seen:
            return seen["cell"] - key, seen["picture"] - key
    raise SystemExit(f"nothing was shown for {query!r}: {seen}")


def form_time(address: str, query: str) -> float:
    """Milliseconds for the whole page as a form without JavaScript gets it."""
    start = time.perf_counter()
    httpx.get(address, params={"q": query}, timeout=60).raise_for_status()
    return 1000 * (time.perf_counter() - start)


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """Of many measurements."""
    return {name: round(float(np.percentile(milliseconds, part)), 1) for name, part in (("p50", 50), ("p95", 95))}


def find_chromium() -> str | None:
    """Of this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser")
