"""What docs/guides/serve.md and the clients' pages show is what the server does: their examples run as written."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import babelclip

sys.path.insert(0, str(Path(__file__).parent))
from serving import COMMAND, MODEL, image_host, server

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
SHOWN = "http://127.0.0.1:8080"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    photo = ROOT / "src" / "babelclip" / "demo" / "photos" / "bridge-at-night.webp"
    Image.open(photo).convert("RGB").save(folder / "bridge.jpg")
    return folder


@pytest.fixture(scope="module")
def host(home: Path) -> Iterator[str]:
    """A web server with the picture, as HOST:PORT."""
    with image_host(home) as host:
        yield host


@pytest.fixture(scope="module")
def client(host: str) -> Iterator[httpx.Client]:
    with server("--fetch-allow", host) as (_, client):
        yield client


def test_every_way_to_send_an_image_gives_the_same_vector(client: httpx.Client, host: str, home: Path) -> None:
    rows = re.findall(r"^\| `(.*)` \| [^|]* \|$", GUIDE, flags=re.MULTILINE)
    rows = [row for row in rows if "BASE64" in row or "URL" in row]
    assert len(rows) >= 13
    content = (home / "bridge.jpg").read_bytes()
    written = ",".join(rows).replace("BASE64", base64.b64encode(content).decode())
    written = re.sub(r'"URL"', f'"http://{host}/bridge.jpg"', written)
    body = f'{{"model": "{MODEL}", "input": [{written}]}}'
    answer = client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text[:500]
    wanted = babelclip.load().encode_image(content)
    assert len(answer.json()["data"]) == len(rows)
    for row, each in zip(rows, answer.json()["data"], strict=True):
        assert np.allclose(each["embedding"], wanted, atol=1e-5), row


def test_the_first_request(client: httpx.Client, host: str) -> None:
    shown = next(block for block in blocks(GUIDE, "sh") if block.startswith("curl"))
    body = json.loads(shown.split("-d '")[1].rsplit("'", 1)[0])
    body["input"][2] = {"image": f"http://{host}/bridge.jpg"}
    answer = client.post("/v1/embeddings", json=body).json()
    assert [len(each["embedding"]) for each in answer["data"]] == [64] * 3


def test_python(client: httpx.Client, home: Path) -> None:
    (code,) = blocks(GUIDE, "python")
    assert SHOWN in code
    code = code.replace(SHOWN, str(client.base_url))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=home, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_commands(home: Path) -> None:
    lines = [line for block in blocks(GUIDE, "console") for line in block.splitlines() if line.startswith("babelclip")]
    assert "babelclip serve" in lines  # run by every other test here
    for line in lines:
        if line != "babelclip serve":
            command = [*COMMAND, *line.split()[1:]]
            done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()


def test_options_and_routes_that_the_guide_names_exist(client: httpx.Client) -> None:
    help_text = subprocess.run([*COMMAND, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    for option in set(re.findall(r"--[a-z][a-z-]+", GUIDE)):
        if option not in ("--keys", "--dim"):
            assert option in help_text, option
    routes = client.get("/openapi.json").json()["paths"]
    for path in set(re.findall(r"`(/v\d/[a-z]+)`", GUIDE)):
        assert path in routes, path


def test_sagemakers_page() -> None:
    page = (ROOT / "docs" / "clients" / "sagemaker.md").read_text(encoding="utf-8")
    shown = next(block for block in blocks(page, "console") if block.startswith("curl"))
    body = shown.split("-d '")[1].rsplit("'", 1)[0]
    with server("--mode", "sagemaker", "--host", "127.0.0.1") as (_, client):
        answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"}).json()
    wanted = babelclip.load().encode_text("a bridge at dawn", dim=64, normalize=False)
    assert np.allclose(answer["data"][0]["embedding"], wanted, atol=1e-4)
