"""The download path: the unmodified hub client against a small server that speaks the hub's file protocol.

Each fetch runs in a process of its own, because the client reads HF_ENDPOINT and HF_HUB_OFFLINE when it is imported.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "fixtures" / "goldens" / "v2_a"
SOURCE = Path(__file__).parents[2] / "src"
COMMITS = ("a" * 40, "b" * 40)

FETCH = """
import json, sys
from babelclip.checkpoint.fetch import fetch_model, open_folder
from babelclip.errors import BabelclipError
name, options = sys.argv[1], json.loads(sys.argv[2])
try:
    fetched = fetch_model(name, **options)
    folder = open_folder(name, revision=options.get("revision"))
    print(json.dumps({"path": str(fetched.path), "revision": fetched.revision, "license": fetched.license,
                      "opened": [folder.name, folder.revision, len(folder.tensor_index())]}))
except BabelclipError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


class Hub:
    """The state of the server: files of each commit, what was asked, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}  # commit -> name -> bytes
        self.main = COMMITS[0]
        self.card: dict[str, Any] | None = {"license": "cc-by-nc-4.0"}
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, range
        self.agents: set[str] = set()
        self.break_after: int | None = None  # bytes of the weights that are sent before the line goes dead
        self.corrupt = False
        self.status = 200
        self.url = ""

    def downloads(self, name: str) -> list[str | None]:
        return [range_ for method, path, range_ in self.asked if method == "GET" and path.endswith(name)]


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub = self.hub
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        hub.agents.add(self.headers.get("User-Agent", ""))
        if hub.status != 200:
            return self.reply(hub.status, b"", {"X-Error-Code": "GatedRepo" if hub.status == 403 else ""})
        if found := re.fullmatch(r"/api/models/org/model(?:/revision/(\w+))?", self.path):
            return self.reply_info(found[1] or "main")
        if found := re.fullmatch(r"/org/model/resolve/(\w+)/(.+)", self.path):
            return self.reply_file(found[1], found[2])
        return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})

    def commit(self, revision: str) -> str | None:
        named = {"main": self.hub.main, "v1": COMMITS[0]}
        return named.get(revision, revision if revision in self.hub.files else None)

    def reply_info(self, revision: str) -> None:
        commit = self.commit(revision)
        if commit is None:
            return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name} for name in self.hub.files[commit]]
        content = {"id": "org/model", "sha": commit, "siblings": siblings, "cardData": self.hub.card, "tags": []}
        return self.reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def reply_file(self, revision: str, name: str) -> None:
        commit = self.commit(revision)
        body = self.hub.files[commit].get(name) if commit else None
        if body is None:
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound" if commit else "RevisionNotFound"})
        digest = hashlib.sha256(body).hexdigest() if name.endswith(".safetensors") else hashlib.sha1(body).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": str(commit), "Accept-Ranges": "bytes"}
        if self.hub.corrupt and self.command == "GET" and name.endswith(".safetensors"):
            body = bytes(len(body))
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start:
            headers["Content-Range"] = f"bytes {start[1]}-{len(body) - 1}/{len(body)}"
            return self.reply(206, body[int(start[1]) :], headers, name)
        return self.reply(200, body, headers, name)

    def reply(self, status: int, body: bytes, headers: dict[str, str], name: str = "") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            limit = self.hub.break_after if name.endswith(".safetensors") else None
            self.wfile.write(body[:limit])
            self.close_connection = limit is not None and limit < len(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()
    names = ("config.json", "model.safetensors", "tokenizer.json")
    state.files[COMMITS[0]] = {name: (GOLDEN / name).read_bytes() for name in names}
    state.files[COMMITS[0]] |= dict.fromkeys(("README.md", "pytorch_model.bin", "onnx/model.onnx", "run.py"), b"x")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


class Machine:
    """A user's machine: its caches, and a process per fetch."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home, self.hub = home, hub
        self.before = ""  # what a program has done before it imports babelclip

    def environment(self, **more: str) -> dict[str, str]:
        others = ("HF_", "HUGGING", "http", "HTTP")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        places = {"HF_HOME": str(self.home / "hf"), "BABELCLIP_CACHE": str(self.home / "babelclip")}
        network = {"HF_ENDPOINT": self.hub.url, "NO_PROXY": "127.0.0.1"}
        return clean | places | network | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"} | more

    def start(
        self, name: str = "org/model", environment: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.before + FETCH, name, json.dumps(options)]
        environment = self.environment(**(environment or {}))
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, cwd=self.home, stdout=pipe, stderr=pipe, text=True)

    def fetch(self, *args: Any, **options: Any) -> dict[str, Any]:
        process = self.start(*args, **options)
        out, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result | {"stderr": errors}

    def partial(self) -> list[Path]:
        # not rglob: the hub's client makes and removes folders beside this one while it runs
        return list(self.home.glob("hf/hub/models--*/blobs/*.babelclip.incomplete"))


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path, hub)


def test_only_the_needed_files_come_and_the_license_is_shown_once(machine: Machine, hub: Hub) -> None:
    first = machine.fetch()
    assert first["revision"] == COMMITS[0]
    assert first["opened"] == ["org/model", COMMITS[0], 138]
    names = {file.name for file in Path(first["path"]).iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert (Path(first["path"]) / "model.safetensors").read_bytes() == (GOLDEN / "model.safetensors").read_bytes()
    shown = [line for line in first["stderr"].splitlines() if "license: cc-by-nc-4.0 (no commercial use" in line]
    assert len(shown) == 1
    assert first["license"] == "cc-by-nc-4.0"
    assert hub.downloads("model.safetensors") == [None]
    asked = len(hub.asked)
    second = machine.fetch()
    assert second["path"] == first["path"]
    assert "license" not in second["stderr"]
    assert len(hub.asked) == asked  # nothing at all


def test_weights_that_were_cut_fail_the_pull(machine: Machine, hub: Hub) -> None:
    """On the hub, or later in the cache: whole bytes of a file that is none."""
    command = [sys.executable, "-m", "babelclip", "model", "pull", "org/model"]

    def pull() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=machine.environment(), capture_output=True, text=True, check=False)

    whole = hub.files[COMMITS[0]]["model.safetensors"]
    hub.files[COMMITS[0]]["model.safetensors"] = whole[:-1000]
    for _ in range(2):
        done = pull()
        assert (done.returncode, done.stdout) == (1, "")
        assert "bytes by its header" in done.stderr
        assert "delete it" in done.stderr
    weights = next(machine.home.glob("hf/hub/models--*/snapshots/*/model.safetensors"))
    weights.resolve().unlink()
    weights.unlink()
    hub.files[COMMITS[0]]["model.safetensors"] = whole
    assert pull().returncode == 0


@pytest.mark.parametrize("before", ["", "import huggingface_hub.constants\n"])
def test_nothing_is_told_about_the_machine(before: str, machine: Machine, hub: Hub) -> None:
    """Nor is anything asked for but the model: the client would fetch a list of programs that may have started it."""
    machine.before = before
    machine.fetch(environment={"AI_AGENT": "somebody", "AGENT": "somebody"})
    assert hub.agents
    told = "torch|fastai|linux|session|agent|somebody"
    assert not [agent for agent in hub.agents if re.search(told, agent, re.IGNORECASE)]
    assert [path for _, path, _ in hub.asked if not re.match("/(api/models/)?org/model(/|$)", path)] == []


def test_a_name_means_the_same_commit_until_an_update_is_asked_for(machine: Machine, hub: Hub) -> None:
    assert machine.fetch()["revision"] == COMMITS[0]
    hub.files[COMMITS[1]] = hub.files[COMMITS[0]] | {"README.md": b"# newer"}
    hub.main = COMMITS[1]
    assert machine.fetch()["revision"] == COMMITS[0]
    updated = machine.fetch(update=True)
    assert updated["revision"] == COMMITS[1]
    assert "license" in updated["stderr"]
    assert machine.fetch()["revision"] == COMMITS[1]
    assert machine.fetch(revision="v1")["revision"] == COMMITS[0]
    assert machine.fetch(revision=COMMITS[0])["revision"] == COMMITS[0]
    assert hub.downloads("model.safetensors") == [None]  # the same bytes came once


def test_a_line_that_breaks_is_taken_up_where_it_broke(machine: Machine, hub: Hub) -> None:
    hub.break_after = 600_000
    assert machine.fetch()["opened"][2] == 138
    assert hub.downloads("model.safetensors") == [None, "bytes=600000-", "bytes=1200000-"]


def test_a_program_that_was_stopped_goes_on_in_the_next_run(machine: Machine, hub: Hub) -> None:
    hub.break_after = 0  # the line is dead: the program waits and tries again
    weights = hub.files[COMMITS[0]]["model.safetensors"]
    process = machine.start()
    while not machine.partial():
        assert process.poll() is None
    process.kill()
    process.communicate()
    machine.partial()[0].write_bytes(weights[:1_000_000])  # as if that much had come
    hub.break_after, hub.asked = None, []
    hub.files[COMMITS[1]], hub.main = hub.files[COMMITS[0]], COMMITS[1]
    done = machine.fetch()
    assert done["revision"] == COMMITS[0]  # the commit that was begun
    assert hub.downloads("model.safetensors") == ["bytes=1000000-"]
    assert (Path(done["path"]) / "model.safetensors").read_bytes() == weights
    assert not machine.partial()


def test_bytes_that_are_not_the_promised_ones_are_refused(machine: Machine, hub: Hub) -> None:
    hub.corrupt = True
    error = machine.fetch()["error"]
    assert "SHA-256 differs" in error
    assert not machine.partial()
    hub.corrupt = False
    assert machine.fetch()["opened"][2] == 138


def test_sharded_weights(machine: Machine, hub: Hub, tmp_path: Path) -> None:
    files = hub.files[COMMITS[0]]
    tensors = load_file(GOLDEN / "model.safetensors")
    places = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for place in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == place}, tmp_path / place)
        files[place] = (tmp_path / place).read_bytes()
    del files["model.safetensors"]
    files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    assert machine.fetch()["opened"][2] == 138
    asked = len(hub.asked)
    assert machine.fetch(environment={"HF_HUB_OFFLINE": "1"})["opened"][2] == 138
    assert len(hub.asked) == asked


def test_offline(machine: Machine, hub: Hub) -> None:
    offline = {"HF_HUB_OFFLINE": "1"}
    error = machine.fetch(environment=offline)["error"]
    assert error.startswith("FetchError: HF_HUB_OFFLINE is set and org/model is not in the cache")
    assert "babelclip model pull org/model" in error
    assert not hub.asked
    fetched = machine.fetch()
    asked = len(hub.asked)
    assert machine.fetch(environment=offline)["path"] == fetched["path"]
    (machine.home / "babelclip" / "pins.json").unlink()  # as if another program had filled the cache
    (machine.home / "hf/hub/models--org--model/refs").mkdir(exist_ok=True)
    (machine.home / "hf/hub/models--org--model/refs/main").write_text(COMMITS[0])
    assert machine.fetch(environment=offline)["revision"] == COMMITS[0]
    (Path(fetched["path"]) / "model.safetensors").unlink()
    assert "is not complete in" in machine.fetch(environment=offline)["error"]
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("org/other", {}, "has no such model"),
        ("org/model", {"revision": "v9"}, "has no revision v9"),
        ("model", {}, "not the name of a model"),
    ],
)
def test_what_is_not_there(machine: Machine, name: str, options: dict[str, Any], says: str) -> None:
    error = machine.fetch(name, **options)["error"]
    assert error.startswith("FetchError")
    assert says in error


def test_a_repository_without_our_kind_of_weights(machine: Machine, hub: Hub) -> None:
    del hub.files[COMMITS[0]]["model.safetensors"]
    error = machine.fetch()["error"]
    assert "has no model.safetensors" in error
    assert "pytorch_model.bin" in error


def test_a_gated_model_and_a_hub_that_is_down(machine: Machine, hub: Hub) -> None:
    hub.status = 403
    assert "accepted its terms" in machine.fetch()["error"]
    hub.status = 500
    assert "could not be fetched" in machine.fetch()["error"]
    hub.url = "http://127.0.0.1:9"
    assert "try again, or set HF_HUB_OFFLINE=1" in machine.fetch()["error"]


def test_the_license_of_a_mirror_without_cards(machine: Machine, hub: Hub) -> None:
    hub.card = None
    assert machine.fetch()["license"] == "not stated"
