"""What the documents show is what happens: their Python blocks and babelclip commands run, as written.

Blocks of docs/guides/published-weights.md are left out: they need weights that no test may fetch. Commands that train
for minutes run as dry runs; tests/unit/train and benchmarks/ run them whole.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "src" / "babelclip" / "demo" / "photos"
GUIDES = ("get-started.md", "search.md", "evaluate.md", "train.md")
INDEX_VERBS = ("search", "dupes", "export", "forget", "index --", "classify --indexed")
ASK_AN_INDEX = tuple(f"babelclip {verb}" for verb in INDEX_VERBS)
DOCUMENTS = ("README.md", "README.zh-CN.md", *(f"docs/guides/{guide}" for guide in GUIDES))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(document, code) of every fenced block of a language."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for code in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL):
            yield document, code


def commands() -> Iterator[tuple[str, str]]:
    """(document, line) of every babelclip command; comments stay, the shell drops them."""
    for document, code in blocks("console"):
        for line in code.replace(".venv-core/bin/", "").splitlines():
            if line.startswith("babelclip train ") and "--dry-run" not in line:
                yield document, f"{line} --dry-run"
            elif line.startswith("babelclip "):
                yield document, line


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with what the documents name: photos, sets of CLIP_benchmark, pairs, JSON lines for standard input."""
    (tmp_path / "Photos").mkdir()
    exif = Image.Exif()
    exif[0x0110] = "Pixel 8"
    exif.get_ifd(0x8769)[0x9003] = "2024:07:01 12:30:00"
    for shown, photo in (("bridge.jpg", "bridge-at-night"), ("cat.jpg", "cat"), ("Photos/beach.jpg", "beach")):
        Image.open(PHOTOS / f"{photo}.webp").convert("RGB").save(tmp_path / shown, exif=exif)
    for name in ("photos", "fotos"):
        write_set(tmp_path / name, {"dataset_type.txt": "retrieval"}, "txt", ["a bridge", "a cat", "a beach"])
    names = {"classnames.txt": "bridge\ncat\nbeach", "zeroshot_classification_templates.txt": "a photo of a {c}"}
    write_set(tmp_path / "pets", names, "cls", ["0", "1", "2"])
    pairs = [{"anchor": f"what is {n} and {n}?", "positive": f"{n} and {n} is {2 * n}"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"text": "two dogs"}\n{"image": "cat.jpg"}\n', encoding="utf-8")
    return tmp_path


def write_set(folder: Path, texts: dict[str, str], suffix: str, notes: list[str]) -> None:
    """A set in CLIP_benchmark's layout: three of the demo's photos in one shard, a note of each."""
    (folder / "test").mkdir(parents=True)
    for name, text in {**texts, "test/nshards.txt": "1"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    with tarfile.open(folder / "test" / "0.tar", "w") as archive:
        for photo, note in zip(("bridge-at-night", "cat", "beach"), notes, strict=True):
            image = (PHOTOS / f"{photo}.webp").read_bytes()
            for name, content in ((f"{photo}.webp", image), (f"{photo}.{suffix}", note.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


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
    if line.startswith(ASK_AN_INDEX) or line == "babelclip index":
        assert run(["bash", "-c", "babelclip index Photos"], home).returncode == 0
    done = run(["bash", "-c", line], home)
    assert done.returncode == 0, f"{document}: {line}\n{done.stderr}"
    if "--out" in line and "--dry-run" not in line:
        assert (home / line.split("--out ")[1].split()[0]).stat().st_size > 0
    else:
        assert done.stdout.strip(), f"{document}: {line} prints nothing"


def test_there_is_something_to_run() -> None:
    assert len(list(blocks("python"))) >= 3
    assert {document for document, _ in commands()} == set(DOCUMENTS)
