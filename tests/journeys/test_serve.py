"""`babelclip serve` as a user starts it: the address on stdout, answers, keys, a killed worker, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

import babelclip

pytestmark = pytest.mark.slow
MODEL = "babelclip-small"
COMMAND = [sys.executable, "-m", "babelclip"]


@contextmanager
def server(*options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    command = [*COMMAND, "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def worker_of(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def test_it_answers_survives_its_worker_and_ends_cleanly() -> None:
    with server("--served-name", "jina-clip-v2") as (process, client):
        body = {"model": "jina-clip-v2", "input": ["a dog", "ein Hund"]}
        answer = client.post("/v1/embeddings", json=body).json()
        wanted = babelclip.load().encode_text(body["input"])  # type: ignore[arg-type]
        assert np.allclose([each["embedding"] for each in answer["data"]], wanted, atol=1e-5)
        assert answer["model"] == MODEL

        first = worker_of(process)
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while (health := client.get("/health")).status_code != 503:
            assert time.monotonic() < deadline
        assert health.json() == {"status": "unhealthy", "models": {MODEL: False}}
        refused = client.post("/v1/embeddings", json=body)
        if refused.status_code != 200:  # it may be back already
            assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
            assert int(refused.headers["Retry-After"]) > 0
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.post("/v1/embeddings", json=body).status_code == 200
        assert worker_of(process) != first

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_what_was_accepted_is_finished_before_it_ends() -> None:
    with server() as (process, client):
        body = {"model": MODEL, "input": [f"text number {n} " * 20 for n in range(300)]}
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as other:
            answers: list[httpx.Response] = []
            asking = threading.Thread(target=lambda: answers.append(other.post("/v1/embeddings", json=body)))
            asking.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            asking.join()
            assert answers[0].status_code == 200
            assert len(answers[0].json()["data"]) == 300
        assert process.wait(30) == 0


def test_with_keys(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.db")
    secret = subprocess.run(
        [*COMMAND, "keys", "create", "me", "--keys", file], capture_output=True, text=True, check=True
    ).stdout.strip()
    with server("--keys", file, "--host", "0.0.0.0") as (_, client):
        port = client.base_url.port
        url = f"http://127.0.0.1:{port}/v1/embeddings"
        body = {"model": MODEL, "input": "a dog"}
        assert httpx.post(url, json=body, trust_env=False).status_code == 401
        answer = httpx.post(url, json=body, headers={"Authorization": f"Bearer {secret}"}, trust_env=False)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--keys FILE"),
        (["--keys", "none.db", "--no-keys"], "contradict"),
        (["--fetch-allow", "a b"], "allow"),
        (["--model", "/nowhere"], "/nowhere"),
        (["--port", "99999"], "from 0 to 65535"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(options: list[str], said: str) -> None:
    result = subprocess.run([*COMMAND, "serve", *options], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
