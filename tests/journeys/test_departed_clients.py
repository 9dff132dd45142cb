"""Clients that leave in each phase of a request, in each way: what was begun for them stops, and who pays what."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access.rate_limits import Rates

sys.path.insert(0, str(Path(__file__).parent))
from serving import MODEL, server, worker_of

pytestmark = pytest.mark.stress
WORD = {"model": MODEL, "input": "word"}
BALANCE = 100_000_000


class Server:
    """A running one, its keys, and how much its processes have worked."""

    def __init__(self, front: int, worker: int, client: httpx.Client, keys: KeyFile) -> None:
        self.front, self.worker, self.client, self.keys = front, worker, client, keys
        self.opened: list[socket.socket] = []

    def key(self, rates: Rates | None = None) -> tuple[str, str]:
        """Id and secret of a new one."""
        key, secret = self.keys.add("one", balance=BALANCE, rates=rates or Rates())
        return key.id, secret

    def paid(self, key_id: str) -> int:
        left = self.keys.get(key_id).balance
        assert left is not None
        return BALANCE - left

    def sent(self, secret: str, body: object, after: bytes = b"", path: str = "/v1/embeddings") -> socket.socket:
        """A connection with a request on it."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {secret}\r\nContent-Length: {len(content)}\r\n\r\n"
        own = socket.create_connection(("127.0.0.1", self.client.base_url.port), timeout=30)
        self.opened.append(own)
        own.sendall(head.encode() + content + after)
        return own

    def waiting(self, kind: str = "text") -> float:
        """Cost of what waits for the model."""
        found = re.search(rf'babelclip_queue_cost{{kind="{kind}".*}} (.*)', self.client.get("/metrics").text)
        assert found is not None
        return float(found[1])

    def price(self, text: str) -> int:
        """Of a text, in tokens."""
        secret = self.key()[1]
        answer = self.client.post("/v1/tokens", json={"model": MODEL, "input": text}, headers={"x-api-key": secret})
        total: int = answer.json()["usage"]["total_tokens"]
        return total

    def asks_with(self, secret: str) -> int:
        return self.client.post("/v1/embeddings", json=WORD, headers={"x-api-key": secret}).status_code

    @contextmanager
    def model_stands_still(self) -> Iterator[None]:
        os.kill(self.worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.worker, signal.SIGCONT)


@pytest.fixture(autouse=True)
def none_stay(running: Server) -> Iterator[None]:
    yield
    while running.opened:
        running.opened.pop().close()


def worked(process: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(holds: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def rests(process: int) -> bool:
    """Whether it does next to nothing for a while."""
    before = worked(process)
    time.sleep(0.4)
    return worked(process) - before < 0.1


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


WAYS = {"close": close, "reset": reset, "half-close": half_close}
NEXT = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
SENT = {"small": ({}, b""), "large": ({"user": "a" * 100_000}, b""), "pipelined": ({}, NEXT * 2)}
"""What is sent beside the input, and after the request: of the last two the server stops reading, and so does not hear
of their end by itself. (Of what the network does not take whole nobody hears the end before it is read.)"""


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[int, list[str]]]:
    """A host of images that never end, and what has happened to its connections."""
    events: list[str] = []

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                events.append("begun")
                while True:
                    connection.sendall(bytes(4096))
                    time.sleep(0.05)
            except OSError:
                events.append("ended")

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], events


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, host: tuple[int, list[str]]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("left")
    options = ("--max-waiting", "1", "--fetch-urls", "--fetch-allow", f"127.0.0.1:{host[0]}")
    with (
        KeyFile(folder / "keys.db", create=True) as keys,
        server("--keys", str(keys.path), *options, log=folder / "log") as (process, client),
    ):
        yield Server(process.pid, worker_of(process), client, keys)
    lines = (folder / "log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("{")] == []
    events = {json.loads(line)["event"] for line in lines}
    assert events == {"request"}  # one line for each request, and nothing that went wrong


def is_answered(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(30)


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("way", WAYS)
def test_who_leaves_a_line_stands_in_nobodys_way(running: Server, way: str, sent: str) -> None:
    key, secret = running.key(Rates(concurrency=1))
    fields, after = SENT[sent]
    with running.model_stands_still():
        first = running.sent(secret, WORD)
        assert not is_answered(first)  # it is at the model
        second = running.sent(secret, {**WORD, **fields}, after)
        assert not is_answered(second)  # it waits, and the line is full
        third = running.sent(secret, WORD)
        assert third.recv(12) == b"HTTP/1.1 429"
        WAYS[way](second)
        deadline = time.monotonic() + 10  # by itself it would go after twenty
        while is_answered(third):
            assert time.monotonic() < deadline, "there is no room in the line"
            third = running.sent(secret, WORD)
        assert running.paid(key) == 0
    for connection in (first, third):
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert running.paid(key) == 2 * running.price("word")


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("way", WAYS)
def test_who_leaves_pays_for_what_has_begun_and_takes_the_rest_along(running: Server, way: str, sent: str) -> None:
    key, secret = running.key()
    fields, after = SENT[sent]
    each = running.price("word")
    with running.model_stands_still():
        body = {"model": MODEL, "input": ["word"] * 1000, **fields}
        first = running.sent(secret, body, after)
        until(lambda: running.waiting() == (1000 - 256) * each, "the model has begun with as many as go into a batch")
        second = running.sent(secret, body, after)
        until(lambda: running.waiting() == (1000 + 1000 - 256) * each, "both are there")
        WAYS[way](first)
        until(lambda: running.waiting() == 1000 * each, "what waits for it is dropped")
        WAYS[way](second)
        until(lambda: running.waiting() == 0, "what waits for it is dropped")
        until(lambda: running.paid(key) > 0, "it has paid")
    assert running.asks_with(secret) == 200
    assert running.paid(key) == (256 + 1) * each


@pytest.mark.parametrize("sent", ["small", "pipelined"])
@pytest.mark.parametrize("way", WAYS)
def test_images_are_fetched_no_further(running: Server, host: tuple[int, list[str]], way: str, sent: str) -> None:
    key, secret = running.key()
    port, events = host
    events.clear()
    asking = running.sent(
        secret, {"model": MODEL, "input": [{"url": f"http://127.0.0.1:{port}/{n}"} for n in range(5)]}, SENT[sent][1]
    )
    until(lambda: events.count("begun") == 5, "they are being fetched")
    WAYS[way](asking)
    until(lambda: events.count("ended") == 5, "they are let go", 4.0)  # by itself it would take eight seconds
    assert running.paid(key) == 0


def image() -> str:
    noise = np.random.default_rng(0).integers(0, 256, (75, 100, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((1000, 750)).save(file, "JPEG", quality=60)
    return base64.b64encode(file.getvalue()).decode()


WORK: dict[str, tuple[str, str, list[object]]] = {
    "tokens are counted": ("front", "/v1/tokens", ["Ωж中;" * 400] * 2000),
    "texts are embedded": ("worker", "/v1/embeddings", ["some words here"] * 2000),
    "images are decoded": ("worker", "/v1/embeddings", [{"image": image()}] * 96),
}
"""Process that works, route, input. Embedding is done in batches, and those that have begun are finished: one of 256
short texts, two of 16 images."""


@pytest.mark.parametrize("kind", WORK)
def test_work_stops(running: Server, kind: str) -> None:
    """Much less is done for a client that leaves than for one that stays, and it pays as much less."""
    where, path, items = WORK[kind]
    process = running.front if where == "front" else running.worker
    key, secret = running.key()
    before, body = worked(process), {"model": MODEL, "input": items}
    assert running.client.post(path, json=body, headers={"x-api-key": secret}).status_code == 200
    full, before, price = worked(process) - before, worked(process), running.paid(key)
    assert (price > 0) == (where == "worker")
    asking = running.sent(secret, body, path=path)
    until(lambda: worked(process) > before + full / 10, "it has begun")
    asking.close()
    until(lambda: rests(process), "it stops")
    assert worked(process) - before < 0.7 * full
    assert running.paid(key) - price <= 0.7 * price
    assert (running.paid(key) > price) == (where == "worker")
