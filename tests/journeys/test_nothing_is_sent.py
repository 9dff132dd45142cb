"""Nothing is sent and nothing is left behind: processes are watched as they run, each with a home of its own.

A small library of C is put before libc (``no_network.c``): it takes the network away and notes every name that is
looked up and every address that is tried. Files that a process leaves in the user's folders count as well, because
telemetry keeps ids and queues there. Without a C compiler the files alone are looked at.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from babelclip.train.recipe import find_recipe

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "src" / "babelclip" / "demo" / "photos"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
OURS = (".cache/babelclip/", ".local/share/babelclip/")
"""Where babelclip keeps what it keeps, below the user's home."""
OF_OTHERS = {".cache/matplotlib/": "the list of fonts, of a curve", "torchinductor_": "what torch would compile"}
"""What libraries leave there and in the temporary folder: nothing that tells this user or this machine from others."""

VERBS = """
import json, sys
from babelclip.cli.main import run
photo, photos, out, postgres = sys.argv[1:]
pairs = [{"anchor": name, "positive": "a photo of " + name} for name in ("a dog", "a cat", "a tree")]
open(out + "/pairs.jsonl", "w").write("".join(json.dumps(pair) + "\\n" for pair in pairs))
def do(*words):
    assert run(list(words)) == 0, words
do("embed", "a bridge", "--out", out + "/vectors.npz")
do("similarity", "a dog", photo)
do("classify", photo, "--labels", "dog,cat")
for store in (f"sqlite:{out}/index.db", f"lance:{out}/lance", f"qdrant:{out}/qdrant", postgres):
    do("index", photos, "--index", store, "--quiet")
    do("search", "a dog", "--index", store)
do("dupes", "--index", f"{out}/index.db")
do("explain", photo, "a dog", "--cells", "2", "--out", out + "/where.png")
do("mine", out + "/pairs.jsonl", "--out", out + "/mined.jsonl", "--negatives", "1", "--below", "1")
do("model", "verify")
do("doctor")
"""
TRAINING = """
import sys
from babelclip.cli.main import run
recipe, shapes, out = sys.argv[1:]
def do(*words):
    assert run(list(words)) == 0, words
do("train", recipe, "--data", shapes, "--out", out + "/nano", "--trial", "1", "--device", "cpu", "--tensorboard")
do("model", "export", out + "/nano-trial/model", "--tower", "text", "--out", out + "/graphs")
do("curves", out + "/nano-trial", "--out", out + "/curves.png")
"""


@dataclass(frozen=True)
class Watch:
    """The environment of watched processes, and what came of them."""

    home: Path
    temporary: Path
    log: Path
    environment: dict[str, str]

    def sent(self) -> list[str]:
        """Every name that was looked up, and every address that was tried."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def left(self) -> list[str]:
        """Files in the user's folders that nobody has said a reason for."""
        homes = [path.relative_to(self.home).as_posix() for path in self.home.rglob("*") if path.is_file()]
        names = homes + [path.name for path in self.temporary.iterdir()]
        return [name for name in names if not name.startswith((*OURS, *OF_OTHERS))]

    def run(self, *command: str) -> None:
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL, timeout=300)


@pytest.fixture(scope="module")
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    if COMPILER is None or sys.platform != "linux":
        return None
    library = tmp_path_factory.mktemp("no-network") / "no_network.so"
    source = Path(__file__).with_name("no_network.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def watch(tmp_path: Path, no_network: Path | None) -> Watch:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    ours = ("XDG_", "BABELCLIP_", "HF_", "ORT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "WATCHED": str(tmp_path / "sent")}
    if no_network is not None:
        environment["LD_PRELOAD"] = str(no_network)
    return Watch(home, temporary, tmp_path / "sent", environment)


def test_the_watch_sees_what_is_sent_and_left(watch: Watch) -> None:
    """What it is for, tried: names and addresses, from this process and from one that it starts."""
    if "LD_PRELOAD" not in watch.environment:
        pytest.skip("without a C compiler (cc) on Linux only files are watched")
    ask = (
        "import pathlib, socket, subprocess, sys, tempfile\n"
        "try: socket.create_connection((sys.argv[1], 443))\n"
        "except OSError: pass\n"
        "if len(sys.argv) == 2: subprocess.run([sys.executable, '-c', sys.argv[0], '192.0.2.7', 'child'])\n"
    )
    watch.run(sys.executable, "-c", f"import sys; sys.argv[0] = {ask!r}; exec(sys.argv[0])", "collector.invalid")
    assert watch.sent() == ["lookup collector.invalid", "connect 192.0.2.7"]
    (watch.home / ".cache" / "babelclip").mkdir(parents=True)
    for file in (".cache/deviceid", ".cache/babelclip/graph"):
        (watch.home / file).touch()
    (watch.temporary / ".ses").touch()
    assert sorted(watch.left()) == [".cache/deviceid", ".ses"]


def two_photos(folder: Path) -> Path:
    photos = folder / "photos"
    photos.mkdir()
    for name in ("dog", "cat"):
        shutil.copy(PHOTOS / f"{name}.webp", photos)
    return photos


def test_library_and_command_line_with_every_store(watch: Watch, postgres: str, tmp_path: Path) -> None:
    photos = two_photos(tmp_path)
    watch.run(sys.executable, "-c", VERBS, str(photos / "dog.webp"), str(photos), str(tmp_path), postgres)
    assert watch.sent() == []
    assert watch.left() == []


def test_a_training_and_an_export(watch: Watch, tmp_path: Path) -> None:
    shapes, recipe = tmp_path / "shapes", tmp_path / "nano.toml"
    watch.run(sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(shapes), "--number", "40")
    recipe.write_text(find_recipe("nano").read_text().replace("batch = 128", "batch = 8"))
    watch.run(sys.executable, "-c", TRAINING, str(recipe), str(shapes), str(tmp_path))
    assert watch.sent() == []
    assert watch.left() == []


def test_demo_page_and_server(watch: Watch, tmp_path: Path) -> None:
    """The server with its worker process, the page beside it, and a page of its own."""
    watch.run(sys.executable, "-m", "babelclip", "demo", "--no-open", "--quiet")
    watch.run(sys.executable, "-m", "babelclip", "index", str(two_photos(tmp_path)), "--quiet")
    body = {"model": "babelclip-small", "input": ["a dog", {"text": "ein Hund"}]}
    for verb in (["serve", "--ui"], ["ui", "--no-open"]):
        command = [sys.executable, "-m", "babelclip", *verb, "--port", "0"]
        with subprocess.Popen(command, env=watch.environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().strip()
                assert httpx.get(f"{address}/results", params={"q": "a dog"}, timeout=60).status_code == 200
                if verb[0] == "serve":
                    assert httpx.post(f"{address}/v1/embeddings", json=body, timeout=60).status_code == 200
            finally:
                server.send_signal(signal.SIGINT if verb[0] == "ui" else signal.SIGTERM)
        assert server.returncode == 0
    assert watch.sent() == []
    assert watch.left() == []
