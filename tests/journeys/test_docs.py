"""What the documents show is what happens: their Python blocks and babelclip commands run, as written.

Blocks of docs/guides/published-weights.md are left out: they need weights that no test may fetch.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "src" / "babelclip" / "demo" / "photos"
DOCUMENTS = ("README.md", "README.zh-CN.md", "docs/guides/get-started.md")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(document, code) of every fenced block of a language."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for code in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL):
            yield document, code


def commands() -> Iterator[tuple[str, str]]:
    """(document, line) of every babelclip command; comments stay, the shell drops them."""
    for document, code in blocks("console"):
        for line in code.splitlines():
            if line.startswith("babelclip "):
                yield document, line


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the files that the documents name: photos, and JSON lines for standard input."""
    (tmp_path / "Photos").mkdir()
    for shown, photo in (("bridge.jpg", "bridge-at-night"), ("cat.jpg", "cat"), ("Photos/beach.jpg", "beach")):
        Image.open(PHOTOS / f"{photo}.webp").convert("RGB").save(tmp_path / shown)
    (tmp_path / "rows.jsonl").write_text('{"text": "two dogs"}\n{"image": "cat.jpg"}\n', encoding="utf-8")
    return tmp_path


def run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "HOME": str(home), "PATH": path}
    with (home / "rows.jsonl").open() as rows:
        return subprocess.run(
            command, cwd=home, env=environment, stdin=rows, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.mark.parametrize(("document", "code"), list(blocks("python")))
def test_python_blocks_run(document: str, code: str, home: Path) -> None:
    done = run([sys.executable, "-W", "error", "-c", code], home)
    assert done.returncode == 0, f"{document}:\n{code}\n{done.stderr}"
    assert done.stdout.strip(), f"{document} shows code that prints nothing"


@pytest.mark.parametrize(("document", "line"), list(commands()))
def test_commands_run(document: str, line: str, home: Path) -> None:
    done = run(["bash", "-c", line], home)
    assert done.returncode == 0, f"{document}: {line}\n{done.stderr}"
    if "--out" in line:
        assert (home / line.split("--out ")[1].split()[0]).stat().st_size > 0
    else:
        assert done.stdout.strip(), f"{document}: {line} prints nothing"


def test_there_is_something_to_run() -> None:
    assert len(list(blocks("python"))) >= 3
    assert len(list(commands())) >= 8
