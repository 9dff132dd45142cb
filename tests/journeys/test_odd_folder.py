"""A folder of five thousand real files as they come: odd names, broken, huge, loops, no permission, doubles."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ALBUM = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"
UNIQUE, DOUBLES, BROKEN, OTHERS = 300, 3900, 500, 300
ODD_NAMES = (
    *("-rf.jpg", "--help.jpg", "+.jpg", "a b  c.jpg", " leading.jpg", "new\nline.jpg", "tab\t.jpg", "quote'\".jpg"),
    *(
        "%s %d.jpg",
        "$HOME.jpg",
        "`id`.jpg",
        "a;b.jpg",
        "*.jpg",
        "[x].jpg",
        "\\.jpg",
        "日本語.jpg",
        "🐕.jpg",
        "مرحبا.jpg",
    ),
    *(unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg"), "x" * 251 + ".jpg", "UPPER.JPG"),
)


def small_jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((24, 18)).save(file, "JPEG", quality=90)
    return file.getvalue()


def huge_png() -> bytes:
    """A PNG whose header promises 1.6 gigapixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About five thousand files; what is wrong with each broken one is in its name."""
    folder = tmp_path_factory.mktemp("odd")
    pictures = [small_jpeg(seed) for seed in range(UNIQUE)]
    for number, content in enumerate(pictures):
        place = folder / f"{number % 17}" / f"{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(content)
    for number in range(DOUBLES):
        place = folder / "doubles" / f"{number % 40}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"copy {number}.jpg").write_bytes(pictures[number % UNIQUE])
    wrong = {
        "cut": lambda n: pictures[n % UNIQUE][: 60 + n % 200],
        "empty": lambda n: b"",
        "text": lambda n: b"not a picture %d" % n,
        "zeros": lambda n: bytes(400),
        "html": lambda n: b"<!doctype html><p>404 %d" % n,
    }
    (folder / "broken").mkdir()
    for number in range(BROKEN):
        kind = list(wrong)[number % len(wrong)]
        (folder / "broken" / f"{kind} {number}.jpg").write_bytes(wrong[kind](number))
    (folder / "others").mkdir()
    for number in range(OTHERS):
        (folder / "others" / f"{number}{('.txt', '.py', '.mp4', '')[number % 4]}").write_bytes(b"something else")
    (folder / "odd").mkdir()
    for number, name in enumerate(ODD_NAMES):
        (folder / "odd" / name).write_bytes(small_jpeg(10_000 + number))
    Path(os.fsdecode(os.fsencode(folder / "odd") + b"/\xff\xfe.jpg")).write_bytes(small_jpeg(20_000))
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "loop").symlink_to(folder)
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "h.jpg").write_bytes(small_jpeg(30_000))
    shutil.copy(ALBUM / "zebras.webp", folder / "odd" / "the one.webp")
    (folder / "closed.jpg").write_bytes(small_jpeg(40_000))
    (folder / "closed.jpg").chmod(0)
    (folder / "closed").mkdir()
    (folder / "closed" / "inside.jpg").write_bytes(small_jpeg(40_001))
    (folder / "closed").chmod(0)
    return folder


def without_privileges() -> list[str]:
    """A prefix under which permissions hold for root too; without setpriv they cannot be tested as root."""
    if os.geteuid() != 0:
        return []
    dropped = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"] if shutil.which("setpriv") else []


@pytest.mark.stress
def test_it_is_indexed_to_the_end(folder: Path, tmp_path: Path) -> None:
    index, errors = str(tmp_path / "index.db"), tmp_path / "errors.jsonl"
    prefix = without_privileges()
    knows_permissions = bool(prefix) or os.geteuid() != 0
    command = [*prefix, sys.executable, "-m", "babelclip"]

    def babelclip(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=400, check=False)

    run = ("index", str(folder), "--index", index, "--json", "--errors-to", str(errors))
    done = babelclip(*run)
    assert done.returncode == 3, done.stderr
    row = json.loads(done.stdout)
    good = UNIQUE + DOUBLES + len(ODD_NAMES) + 2 + (0 if knows_permissions else 2)
    assert row["indexed"] == good
    assert row["embedded"] < UNIQUE + DOUBLES / 2, "doubles are known by their content"
    failed = {
        Path(json.loads(line)["path"]).name: json.loads(line)["reason"] for line in errors.read_text().splitlines()
    }
    expected = {"huge.png", "self.jpg", "dangling.jpg"} | ({"closed.jpg", "closed"} if knows_permissions else set())
    assert {name for name in failed if " " not in name} == expected
    assert len(failed) == BROKEN + len(expected)
    assert all(failed.values())
    assert "pixels" in failed["huge.png"]

    again = json.loads(babelclip(*run).stdout)
    assert (again["embedded"], again["unchanged"], again["removed"]) == (0, good, 0)
    found = babelclip("search", "zebras", "--index", index, "--json", "-k", "3")
    assert Path(json.loads(found.stdout.splitlines()[0])["path"]).name == "the one.webp"
    (folder / "closed").chmod(0o700)
    (folder / "closed.jpg").chmod(0o600)  # which changes neither its size nor its time
    mended = json.loads(babelclip(*run).stdout)
    assert mended["embedded"] == (2 if knows_permissions else 0)
    assert not {"closed", "closed.jpg"} & {
        Path(json.loads(line)["path"]).name for line in errors.read_text().splitlines()
    }
