"""Names and metadata of foreign origin: no verb hands control characters on, or fails for want of a letter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ALBUM = Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos"
ODD = os.fsdecode(b"caf\xe9 \x1b[31mred\x9b \xe2\x80\xae \xf0\x9f\x98\x80.webp")
"""Latin-1, an escape sequence, a C1 control, a turn of direction, a smiling face."""
STEERING = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]")
VERBS = {
    "index": ["index", "."],
    "index json": ["index", ".", "--json"],
    "search": ["search", "a", "dog"],
    "search json": ["search", "a", "dog", "--json"],
    "dupes": ["dupes", "--threshold", "0.01"],
    "embed": ["embed", ODD],
    "similarity": ["similarity", "a dog", "--with", ODD],
    "classify": ["classify", ODD, "--labels", "cat,dog"],
    "explain": ["explain", ODD, "a dog"],
    "embed of a broken file": ["embed", "broken" + ODD],
    "no such verb": ["\x1b[31mverb"],
    "no such file": ["explain", "\x1b]0;title\x07.jpg", "a dog"],
}


def babelclip(folder: Path, *words: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    own = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    own |= {"BABELCLIP_INDEX": f"sqlite:{folder.parent / 'index.db'}", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "babelclip", *words]
    return subprocess.run(command, cwd=folder, env=os.environ | own, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "photos"
    folder.mkdir()
    shutil.copy(ALBUM / "dog.webp", folder / ODD)
    shutil.copy(ALBUM / "cat.webp", folder / "cat.webp")
    (folder / ("broken" + ODD)).write_bytes(b"no picture")
    assert babelclip(folder, "index", ".", encoding="utf-8").returncode == 3
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_steers_the_terminal_and_nothing_ends_in_a_traceback(verb: str, folder: Path) -> None:
    done = babelclip(folder, *VERBS[verb], encoding="ascii")
    said = done.stdout + done.stderr
    assert b"Traceback" not in said
    assert not STEERING.search(said), said
    assert said.isascii()
    if "json" in verb or verb == "embed":
        assert all(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("words", [[""], [" "], ["+", "", "-", " "]])
def test_nothing_is_no_query(words: list[str], folder: Path) -> None:
    done = babelclip(folder, "search", *words, encoding="utf-8")
    assert done.returncode == 2, done.stdout
    assert b"nothing to search for" in done.stderr or b"sign" in done.stderr


def test_an_index_that_may_only_be_read_answers(folder: Path) -> None:
    """On a drive that is mounted read-only, which binds root too."""
    index = folder.parent / "index.db"
    place = folder.parent / "drive"
    place.mkdir(exist_ok=True)
    shutil.copy(index, place / "index.db")
    mounted = f"mount --bind '{place}' '{place}' && mount -o remount,ro,bind '{place}' && "
    if subprocess.run(["unshare", "-rm", "sh", "-c", f"{mounted} true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    url = f"sqlite:{place / 'index.db'}"
    for words, code in ((f"search dog --index {url} --paths", 0), (f"index --index {url} .", 1)):
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", f"{mounted} exec '{sys.executable}' -m babelclip {words}"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
        assert done.stdout.count(b"webp") == 2 if code == 0 else b"may only be read here" in done.stderr
