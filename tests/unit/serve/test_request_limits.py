"""What every request passes: slow bodies, clients that leave, failures nobody foresaw, and what is written down."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from prometheus_client.parser import text_string_to_metric_families

from babelclip.encoder import Encoder
from babelclip.serve.access_log import JsonFormatter
from babelclip.serve.app import make_app
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"
SECRET = "the-secret-words"


def connect(client: httpx.Client) -> socket.socket:
    assert client.base_url.port is not None
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


def test_a_body_that_does_not_come_is_not_waited_for(encoder: Encoder, running: Running) -> None:
    with running(make_app(encoder, ServerSettings(body_seconds=0.3))) as client, connect(client) as raw:
        raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        started = time.monotonic()
        answer = raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < 10
        assert client.get("/live").status_code == 200


def test_bodies_together_have_a_limit(encoder: Encoder, running: Running) -> None:
    """A large one waits for room, and is sent away when there is none in time; a small one is answered meanwhile."""
    settings = ServerSettings(max_held_bytes=100_000, max_body_bytes=100_000, wait_seconds=0.5)
    large = {"model": MODEL, "input": "large", "user": "a" * 80_000}
    with running(make_app(encoder, settings)) as client:
        with connect(client) as raw:
            raw.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 99000\r\n\r\n" + b"x" * 90_000)
            time.sleep(0.3)
            refused = client.post("/v1/embeddings", json=large)
            assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
            assert refused.headers["Retry-After"] == "1"
            assert client.post("/v1/embeddings", json={"model": MODEL, "input": "small"}).status_code == 200
        until = time.monotonic() + 10
        while (answer := client.post("/v1/embeddings", json=large)).status_code != 200:
            assert time.monotonic() < until, answer.text
            time.sleep(0.05)


def test_an_answer_that_takes_too_long_is_given_up(encoder: Encoder, running: Running) -> None:
    app = make_app(encoder, ServerSettings(body_seconds=0.2, answer_seconds=0.2))

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    with running(app) as client:
        answer = client.get("/slow")
        assert (answer.status_code, answer.json()["code"]) == (504, "SERVICE_TIMEOUT")


def test_what_a_client_asked_for_is_dropped_when_it_leaves(encoder: Encoder, running: Running) -> None:
    app = make_app(encoder)
    dropped: list[bool] = []

    @app.post("/slow")
    async def slow(request: Request) -> None:
        await request.body()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            dropped.append(True)
            raise

    with running(app) as client:
        with connect(client) as raw:
            raw.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            time.sleep(0.2)
        until = time.monotonic() + 10
        while not dropped and time.monotonic() < until:
            time.sleep(0.02)
        assert dropped == [True]
        assert 'babelclip_requests_total{route="/slow",status="499"} 1.0' in client.get("/metrics").text


def test_what_is_not_finished_when_the_server_stops_is_told_to_come_back(encoder: Encoder) -> None:
    app = make_app(encoder)
    arrived = threading.Event()

    @app.get("/slow")
    async def slow() -> None:
        arrived.set()
        await asyncio.sleep(60)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    answers: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"http://127.0.0.1:{port}/slow", trust_env=False, timeout=30))
    )
    asking.start()
    assert arrived.wait(20)
    server.should_exit = True
    asking.join()
    thread.join()
    (answer,) = answers
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "1"


def test_a_failure_is_told_by_its_id_alone(
    encoder: Encoder, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(encoder)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(SECRET)

    with running(app) as client, caplog.at_level(logging.INFO):
        answer = client.get("/broken")
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
        assert answer.headers["X-Request-Id"] == answer.json()["request_id"]
        assert client.get("/live").status_code == 200
    lines = [
        json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "babelclip.serve"
    ]
    failure = next(line for line in lines if line["event"] == "failure")
    assert failure["kind"] == "RuntimeError"
    assert failure["request_id"] == answer.json()["request_id"]
    assert any("broken" in place for place in failure["way"])
    assert SECRET not in caplog.text
    assert SECRET not in answer.text


def test_a_request_is_one_line_without_anything_that_was_sent(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="babelclip.serve"):
        headers = {"Authorization": f"Bearer {SECRET}"}
        body = {"model": MODEL, "input": [SECRET, {"text": SECRET}], "user": SECRET}
        client.post(f"/v1/embeddings?on_error=item&q={SECRET}", json=body, headers=headers)
        client.post("/v1/embeddings", json={"model": SECRET, "input": SECRET})
        client.get(f"/{SECRET}")
        until = time.monotonic() + 10
        while len(caplog.records) < 3 and time.monotonic() < until:
            time.sleep(0.01)  # a line is written after its answer was sent
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert SECRET not in json.dumps(lines)
    good, bad, unknown = lines
    assert good["event"] == "request"
    assert (good["route"], good["status"], good["model"], good["texts"]) == ("/v1/embeddings", 200, MODEL, 2)
    assert good["tokens"] > 0
    assert set(good["stages"]) == {"prepare", "model"}
    assert len(good["request_id"]) == 32
    assert bad["code"] == "INPUT_MODEL_NOT_FOUND"
    assert (unknown["route"], unknown["status"]) == ("unmatched", 404)


def test_metrics_count_what_happened(encoder: Encoder, running: Running) -> None:
    with running(make_app(encoder)) as client:
        client.post("/v1/embeddings", json={"model": MODEL, "input": ["a", "b"]})
        client.post("/v1/embeddings", json={"model": MODEL, "input": {"url": "https://example.org/x.png"}})
        text = client.get("/metrics").text
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return found[(f"babelclip_{name}", *sorted(labels.items()))]

    assert value("items_total", model=MODEL, kind="text") == 2
    assert value("tokens_total", model=MODEL, kind="text") == sum(map(len, encoder.tokenize(["a", "b"])))
    assert value("requests_total", route="/v1/embeddings", status="200") == 1
    assert value("refusals_total", code="VALIDATION_ERROR") == 1
    assert value("image_fetches_total", outcome="disabled") == 1
    assert value("batch_items_sum", model=MODEL, kind="text") == 2
    assert value("stage_seconds_count", stage="model", modality="text") == 1
    assert value("queue_cost", model=MODEL, kind="text") == 0
    assert value("model_ready", model=MODEL) == 1


def test_stages_are_told_in_a_header(client: httpx.Client) -> None:
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": "hi"})
    stages = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
    assert set(stages) == {"prepare", "model"}
    assert all(float(each) >= 0 for each in stages.values())
