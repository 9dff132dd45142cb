"""`babelclip serve` as a user starts it: the address on stdout, answers, keys, a killed worker, a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

import babelclip
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access.rate_limits import Rates

sys.path.insert(0, str(Path(__file__).parent))
from serving import COMMAND, MODEL, server, worker_of

pytestmark = pytest.mark.slow


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
        body = {"model": MODEL, "input": [f"text number {n} " * 20 for n in range(100)]}
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as other:
            answers: list[httpx.Response] = []
            asking = threading.Thread(target=lambda: answers.append(other.post("/v1/embeddings", json=body)))
            asking.start()
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            asking.join()
            assert answers[0].status_code == 200
            assert len(answers[0].json()["data"]) == 100
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
        (["--mode", "sagemaker", "--no-keys"], "the platform checks who asks"),
        (["--vector-cache", "/dev/null/x"], "cannot be used"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(options: list[str], said: str) -> None:
    result = subprocess.run([*COMMAND, "serve", *options], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_worker_killed_under_load_costs_nobody_a_token_too_much(tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys:
        key, secret = keys.add("load", balance=10_000_000, rates=Rates())
        with server("--keys", str(keys.path)) as (process, client):
            statuses: Counter[int] = Counter()
            charged: list[int] = []
            over = threading.Event()

            def ask(number: int) -> None:
                headers = {"Authorization": f"Bearer {secret}"}
                with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60, headers=headers) as other:
                    while not over.is_set():
                        body = {"model": MODEL, "input": [f"text {number} of {n}" for n in range(8)]}
                        answer = other.post("/v1/embeddings", json=body)
                        statuses[answer.status_code] += 1
                        if answer.status_code == 200:
                            charged.append(answer.json()["usage"]["total_tokens"])
                        else:
                            assert answer.json()["code"] == "SERVICE_UNAVAILABLE", answer.text
                            time.sleep(0.05)

            asking = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
            for thread in asking:
                thread.start()
            for _ in range(3):
                time.sleep(1.0)
                os.kill(worker_of(process), signal.SIGKILL)
                until = time.monotonic() + 60
                while client.get("/ready").status_code != 200:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            time.sleep(0.5)
            over.set()
            for thread in asking:
                thread.join(60)
        assert set(statuses) == {200, 503}  # every request has an answer
        after = keys.get(key.id)
        assert after.usage.total == sum(charged)
        assert after.balance == 10_000_000 - sum(charged)
        assert after.requests == statuses[200]


def test_a_server_killed_under_load_has_charged_what_it_answered(tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys:
        key, secret = keys.add("load", balance=10_000_000, rates=Rates())
        charged: list[int] = []
        sent: list[int] = []
        with server("--keys", str(keys.path)) as (process, client):

            def ask() -> None:
                headers = {"Authorization": f"Bearer {secret}"}
                with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60, headers=headers) as other:
                    while True:
                        sent.append(1)
                        try:
                            answer = other.post("/v1/embeddings", json={"model": MODEL, "input": ["a dog", "a cat"]})
                        except httpx.HTTPError:
                            return
                        assert answer.status_code == 200
                        charged.append(answer.json()["usage"]["total_tokens"])

            asking = [threading.Thread(target=ask) for _ in range(4)]
            for thread in asking:
                thread.start()
            time.sleep(2.0)
            process.kill()
            for thread in asking:
                thread.join(60)
        each = charged[0]
        after = keys.get(key.id)
        assert sum(charged) <= after.usage.total <= sum(charged) + 4 * each  # what was on its way may be either
        assert after.usage.total == after.requests * each
        assert after.balance == 10_000_000 - after.usage.total
        with server("--keys", str(keys.path)) as (_, client):
            headers = {"Authorization": f"Bearer {secret}"}
            assert (
                client.post("/v1/embeddings", json={"model": MODEL, "input": "a"}, headers=headers).status_code == 200
            )


def test_every_request_is_a_line_of_json_on_stderr(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(log=log) as (process, client):
        client.post("/v1/embeddings", json={"model": MODEL, "input": "hi"})
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["event"], line["route"], line["status"]) == ("request", "/v1/embeddings", 200)


def test_a_container_on_sagemaker(tmp_path: Path) -> None:
    with server("--mode", "sagemaker") as (process, client):
        url = f"http://127.0.0.1:{client.base_url.port}"  # it listens everywhere
        assert client.base_url.host == "0.0.0.0"
        assert httpx.get(f"{url}/ping", trust_env=False).status_code == 200
        answer = httpx.post(f"{url}/invocations", json={"data": [{"text": "hi"}]}, trust_env=False)
        assert len(answer.json()["data"][0]["embedding"]) == 384
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_command_line_may_run_on_a_server(tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys:
        _, secret = keys.add("cli")
        with server("--keys", str(keys.path), "--served-name", "other") as (_, client):
            url = str(client.base_url)

            def embed(*options: str, key: str = secret) -> subprocess.CompletedProcess[str]:
                environment = {**os.environ, "BABELCLIP_KEY": key}
                command = [*COMMAND, "embed", "a dog", "--model", *options]
                return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

            for address in (url, f"{url}/v1#other"):
                done = embed(address)
                assert done.returncode == 0, done.stderr
                vector = json.loads(done.stdout)["vector"]
                assert np.allclose(vector, babelclip.load().encode_text("a dog"), atol=1e-6)
            for options, said in (((url, "--threads", "2"), "--threads"), ((f"{url}#none",), "'none'")):
                done = embed(*options)
                assert done.returncode != 0
                assert said in done.stderr
            assert "AUTH_INVALID_API_KEY" in embed(url, key="wrong").stderr
