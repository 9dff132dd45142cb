"""`babelclip serve --ui`: the page and the API in one server, and neither changes the other."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.routing import APIRoute
from PIL import Image

import babelclip
from babelclip.search.index import Index
from babelclip.serve.access.authenticator import NoAuth
from babelclip.serve.app import ROUTERS, first_segment
from babelclip.serve.body_budget import BodyBudget
from babelclip.serve.embedding_service import EmbeddingService
from babelclip.serve.images.fetched_images import fetched_images
from babelclip.serve.metrics import Metrics
from babelclip.serve.run import Address
from babelclip.serve.settings import Mode, ServerSettings
from babelclip.serve.state import AppState
from babelclip.web.app import FIRST_SEGMENTS

from .conftest import COMMAND, running

MODEL = "babelclip-small"
Served = tuple[str, subprocess.Popen[str]]
REQUESTS: tuple[tuple[str, str, object], ...] = (
    ("GET", "/health", None),
    ("HEAD", "/health", None),
    ("GET", "/live", None),
    ("GET", "/ready", None),
    ("GET", "/v1/models", None),
    ("GET", "/openapi.json", None),
    ("GET", "/nothing/here", None),
    ("GET", "/v1/embeddings", None),
    ("POST", "/v1/embeddings", {"model": MODEL, "input": ["a dog"]}),
    ("POST", "/v1/embeddings", {"model": MODEL, "input": 5}),
    ("POST", "/v1/embeddings", {"model": "other", "input": ["a dog"]}),
    ("POST", "/v1/tokens", {"model": MODEL, "input": ["a dog"]}),
)


def paths(mode: Mode) -> set[str]:
    settings, metrics = ServerSettings(mode=mode), Metrics()
    images = fetched_images(settings, BodyBudget(settings.max_held_bytes), metrics)
    service = EmbeddingService(images, ThreadPoolExecutor(1), metrics)
    state = AppState(settings=settings, models={}, service=service, authenticator=NoAuth(), metrics=metrics)
    return {route.path for router in ROUTERS[mode] for route in router(state).routes if isinstance(route, APIRoute)}


def test_no_path_of_the_api_is_the_pages() -> None:
    assert {"", "results", "thumbnail", "picture", "where", "progress", "static", "playground"} == FIRST_SEGMENTS
    for mode in ROUTERS:
        assert len(paths(mode)) >= 3
        assert not {first_segment(path) for path in paths(mode)} & FIRST_SEGMENTS


def test_the_api_answers_as_without_the_page(served: Served, environment: dict[str, str]) -> None:
    with running(["serve"], environment) as (alone, _):
        for method, path, body in REQUESTS:
            both = [httpx.request(method, address + path, json=body, timeout=60) for address in (served[0], alone)]
            said = [re.sub(r'"(request_id|created)":"?\w+"?', "", answer.text) for answer in both]
            assert both[0].status_code == both[1].status_code, (method, path)
            if path != "/v1/embeddings" or both[0].status_code != 200:
                assert said[0] == said[1], (method, path)
            assert list(both[0].headers) == list(both[1].headers), (method, path)
            assert "content-security-policy" not in both[0].headers
        assert httpx.get(alone).status_code == 404


def test_the_page_finds_what_it_finds_alone(served: Served, address: str, photos: Path) -> None:
    for asked in ({"q": "a dog"}, {"q": "一只猫"}, {"q": "dog", "after": "2024-01-01"}):
        both = [httpx.get(f"{each}/results", params=asked, timeout=60).json() for each in (served[0], address)]
        assert both[0] == both[1]
    content = (photos / "elephants.jpg").read_bytes()  # one that EXIF turns
    found = [httpx.post(f"{each}/results", content=content, timeout=60).json() for each in (served[0], address)]
    assert found[0] == found[1]
    assert re.findall(r'data-score="cosine ([\d.]+)"', found[0]["html"])[0] == "1.000"
    id = re.findall(r'data-id="(\w+)"', found[0]["html"])[0]
    seen = [httpx.get(f"{each}/where/{id}", params={"q": "an elephant"}, timeout=90) for each in (served[0], address)]
    assert seen[0].content == seen[1].content
    for path in ("/", "/static/search.js", f"/thumbnail/{id}", "/playground"):
        answer = httpx.get(served[0] + path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert len(answer.headers["x-request-id"]) == 32  # it came through the same door


def test_the_model_is_there_once(served: Served) -> None:
    assert httpx.get(f"{served[0]}/results", params={"q": "a dog"}, timeout=60).status_code == 200
    front = served[1].pid
    children = Path(f"/proc/{front}/task/{front}/children").read_text().split()
    assert len(children) == 1
    assert "onnxruntime" in Path(f"/proc/{children[0]}/maps").read_text()
    assert "onnxruntime" not in Path(f"/proc/{front}/maps").read_text()


def test_a_page_says_where_its_model_is(served: Served, environment: dict[str, str]) -> None:
    assert "Everything happens on the machine that serves this page." in httpx.get(served[0]).text
    with running(["ui", "--no-open", "--model", served[0]], environment) as (address, _):
        page = httpx.get(address, params={"q": "a dog"}, timeout=60).text
    assert "Everything happens" not in page
    assert f"go to the model at {served[0]}/v1." in page


def test_other_names_lead_to_the_api_alone(served: Served) -> None:
    port = httpx.URL(served[0]).port
    for name, status in (("evil.example", 400), ("localhost", 200), ("192.168.7.7", 200), ("[fd00::1]", 200)):
        assert httpx.get(served[0], headers={"Host": f"{name}:{port}"}).status_code == status
        assert httpx.get(f"{served[0]}/live", headers={"Host": f"{name}:{port}"}).status_code == 200


@pytest.mark.slow
def test_a_model_that_is_away_is_told_and_comes_back(environment: dict[str, str]) -> None:
    with running(["serve", "--ui", "--page-name", "Photos.Example.org"], environment) as (address, process):
        assert httpx.get(address, headers={"Host": "photos.example.org"}).status_code == 200
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        deadline, statuses = time.monotonic() + 60, set[int]()
        while httpx.get(f"{address}/ready").status_code == 200:
            assert time.monotonic() < deadline
        for path in ("/", "/results"):
            answer = httpx.get(address + path, params={"q": "a dog"}, timeout=60)
            statuses.add(answer.status_code)
            assert answer.status_code == 200 or "<form" in answer.text or answer.json()["detail"]
        assert statuses <= {200, 503}
        while httpx.get(address, params={"q": "a dog"}, timeout=60).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def refused(environment: dict[str, str], *options: str) -> str:
    """Why the server does not start."""
    command = [*COMMAND, "serve", "--port", "0", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (1, 2)
    return " ".join(done.stderr.split())


def test_keys_do_not_guard_the_page_so_it_must_be_asked_for(environment: dict[str, str], tmp_path: Path) -> None:
    keys = str(tmp_path / "keys.db")
    made = subprocess.run(
        [*COMMAND, "keys", "create", "me", "--keys", keys], capture_output=True, text=True, check=True
    )
    for more in ([], ["--host", "0.0.0.0"]):
        assert "--keys guards the API alone" in refused(environment, "--ui", "--keys", keys, *more)
    log = tmp_path / "log"
    with running(["serve", "--ui", "--ui-without-keys", "--keys", keys], environment, log) as (address, _):
        assert httpx.get(address).status_code == 200
        assert httpx.get(f"{address}/v1/tokens").status_code == 405
        refusal = httpx.post(f"{address}/v1/embeddings", json={"model": MODEL, "input": ["a dog"]})
        assert (refusal.status_code, refusal.json()["code"]) == (401, "AUTH_MISSING_API_KEY")
        page = httpx.get(f"{address}/playground", params={"texts": "a dog", "dim": "64"}).text
        given = {**environment, "BABELCLIP_KEY": made.stdout.strip()}
        assert np.allclose(answer_of(command_in(page), Path(), given), vectors_in(page), atol=1e-5)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["host"] for line in lines if line["event"] == "page_open_to_all"] == ["127.0.0.1"]


def test_it_is_told_when_others_can_see_the_photos(environment: dict[str, str], tmp_path: Path) -> None:
    for options, warned in ((["--host", "0.0.0.0", "--no-keys"], True), ([], False)):
        with running(["serve", "--ui", *options], environment, tmp_path / "log") as (address, _):
            assert httpx.get(address.replace("0.0.0.0", "127.0.0.1")).status_code == 200
        assert ("page_open_to_all" in (tmp_path / "log").read_text()) == warned
    assert not Address(keys=Path("keys.db"), host="0.0.0.0").shows_photos_to_others


def test_what_cannot_be_served_is_told_before_it_starts(environment: dict[str, str], tmp_path: Path) -> None:
    assert "none.db" in refused(environment, "--ui", "--index", str(tmp_path / "none.db"))
    assert "no use for --index without --ui" in refused(environment, "--index", str(tmp_path / "none.db"))
    assert "has no page" in refused(environment, "--ui", "--mode", "sagemaker")
    narrow = f"sqlite:{tmp_path / 'other.db'}"
    with Index.open(narrow, babelclip.load(), create=True) as index:
        index.add([Path(__file__).parents[2] / "src" / "babelclip" / "demo" / "photos" / "dog.webp"])
        notes = index.database.notes()
        index.database.note({"model of 1": notes["model of 1"].replace('"fingerprint": "', '"fingerprint": "0')})
    assert "was made with" in refused(environment, "--ui", "--index", narrow)


def command_in(page: str) -> str:
    """The request that a playground shows, as a person copies it."""
    found = re.search(r"<pre[^>]*>((?:curl|\{ printf) .*?)</pre>", page, re.DOTALL)
    assert found is not None, page
    return unescape(found.group(1))


def vectors_in(page: str) -> list[list[float]]:
    return [json.loads(numbers) for numbers in re.findall(r"<pre[^>]*>(\[[^\]]+\])</pre>", page)]


def answer_of(command: str, folder: Path, environment: dict[str, str]) -> list[list[float]]:
    """What the shell prints, as vectors."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert "data" in answer, answer
    return [each["embedding"] for each in answer["data"]]


def test_the_request_of_the_playground_gives_its_vectors(
    served: Served, environment: dict[str, str], photos: Path, tmp_path: Path
) -> None:
    texts = ["a dog", "犬と'quotes' \"double\" $HOME `id` \\ %s %d", "one long text about dogs " * 200]
    page = httpx.get(f"{served[0]}/playground", params={"texts": "\n".join(texts), "dim": "96"}, timeout=60).text
    command = command_in(page)
    assert command.startswith(f"curl {served[0]}/v1/embeddings ")
    found = answer_of(command, tmp_path, environment)
    assert np.shape(found) == (3, 96)
    assert np.allclose(found, vectors_in(page), atol=1e-5)

    shutil.copy(photos / "elephants.jpg", tmp_path / "-it's $turned.jpg")
    Image.open(photos / "zebras.jpg").resize((1600, 1200)).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > 1_000_000  # more than a shell takes as an argument
    images = [
        {"name": file.name, "content": base64.b64encode(file.read_bytes()).decode()}
        for file in sorted(tmp_path.iterdir())
    ]
    body = {"texts": texts, "images": images, "dim": 384}
    html = httpx.post(f"{served[0]}/playground", json=body, timeout=60).json()["html"]
    found = answer_of(command_in(html), tmp_path, environment)
    assert np.shape(found) == (5, 384)
    assert np.allclose(found, vectors_in(html), atol=1e-5)
