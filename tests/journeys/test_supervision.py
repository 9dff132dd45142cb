"""A server whose worker cannot be started, and one that is stopped with every kind of request under way."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from serving import MODEL, server, worker_of

pytestmark = pytest.mark.stress
BODY = {"model": MODEL, "input": ["a dog"]}


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that comes."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_a_worker_that_could_not_be_started_is_started_when_it_can_be(tmp_path: Path) -> None:
    """Clients hold every descriptor that the process may have when its worker dies."""
    log = tmp_path / "log"
    with server("--log", "none", log=log) as (process, client):
        assert client.get("/health").status_code == 200  # its connection stays
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (5, limits[1]))
        os.kill(worker_of(process), signal.SIGKILL)
        until(lambda: "Too many open files" in log.read_text())
        assert client.get("/health").json() == {"status": "unhealthy", "models": {MODEL: False}}
        assert client.get("/live").status_code == 200
        refused = client.post("/v1/embeddings", json=BODY)
        assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: client.get("/health").status_code == 200)
        assert client.post("/v1/embeddings", json=BODY).status_code == 200
    said = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert sorted(said) == ["worker_lost", "worker_not_started"]  # once, however often it was tried


def test_a_worker_that_had_no_memory_is_started_when_there_is_some(tmp_path: Path) -> None:
    """A process that is started anew has the limits of its parent: here none of the model fits."""
    log = tmp_path / "log"
    with server("--log", "none", log=log) as (process, client):
        worker = worker_of(process)
        limits = resource.prlimit(process.pid, resource.RLIMIT_AS)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (address_space(process.pid) + 2**25, limits[1]))
        resource.prlimit(worker, resource.RLIMIT_AS, limits)
        os.kill(worker, signal.SIGKILL)
        until(lambda: log.read_text().count("worker_not_started") > 0)
        time.sleep(4)  # it is tried again meanwhile
        assert client.get("/health").status_code == 503
        assert client.post("/v1/embeddings", json=BODY).status_code == 503
        resource.prlimit(process.pid, resource.RLIMIT_AS, limits)
        until(lambda: client.get("/health").status_code == 200)
        assert client.post("/v1/embeddings", json=BODY).status_code == 200
        assert 'babelclip_worker_starts{model="babelclip-small"} 1.0' not in client.get("/metrics").text
    said = [json.loads(line) for line in log.read_text().splitlines()]  # and no traceback
    assert [each["event"] for each in said] == ["worker_lost", "worker_not_started"]
    assert "bad_alloc" in said[1]["why"] or "Memory" in said[1]["why"], said


def address_space(process: int) -> int:
    """Bytes that a process has taken of it (Linux)."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_worker_that_is_there_and_does_nothing_is_no_health() -> None:
    with server("--log", "none") as (process, client):
        assert (client.get("/ready").status_code, client.get("/health").status_code) == (200, 200)
        worker = worker_of(process)
        os.kill(worker, signal.SIGSTOP)
        try:
            assert client.get("/health").status_code == 503
            assert client.get("/live").status_code == 200
        finally:
            os.kill(worker, signal.SIGKILL)


def connected(port: int) -> socket.socket:
    """A connection that takes little at a time."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.settimeout(60)
    own.connect(("127.0.0.1", port))
    return own


def posted(body: bytes, length: int | None = None) -> bytes:
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) if length is None else length}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


def received(connection: socket.socket) -> bytes:
    content = b""
    with connection:
        while piece := connection.recv(65536):
            content += piece
    return content


def test_it_ends_in_time_and_tells_everybody_whatever_clients_do(tmp_path: Path) -> None:
    """A worker that does nothing more, so that nothing can be finished; readers, bodies and heads that stand still."""
    log = tmp_path / "log"
    many = json.dumps({"model": MODEL, "input": [f"{number}" for number in range(1024)]}).encode()
    with server("--drain-seconds", "3", log=log) as (process, client):
        port = client.base_url.port or 0
        reads_nothing = connected(port)
        reads_nothing.sendall(posted(many))
        until(lambda: reads_nothing.recv(1, socket.MSG_PEEK) == b"H")  # the answer is on its way, and too large for it
        assert client.get("/live").status_code == 200  # an idle connection
        os.kill(worker_of(process), signal.SIGSTOP)
        standing = {"body": posted(b"{", 500), "head": b"POST /v1/embeddings HTT", "nothing": b""}
        connections = {name: connected(port) for name in standing}
        for name, sent in standing.items():
            connections[name].sendall(sent)
        answers: list[httpx.Response] = []

        def ask(path: str, body: object) -> None:
            answers.append(httpx.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=60, trust_env=False))

        asked = [
            ("/v1/embeddings", BODY),
            ("/v1/embeddings", {"model": MODEL, "input": ["text " * 60] * 256}),
            ("/v2/embed", {"model": MODEL, "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]}),
            ("/v1/multimodalembeddings", {"model": MODEL, "inputs": [{"content": [{"type": "text", "text": "a"}]}]}),
        ]
        asking = [threading.Thread(target=ask, args=each) for each in asked]
        for thread in asking:
            thread.start()
        time.sleep(0.5)  # they are under way
        process.send_signal(signal.SIGTERM)
        assert process.wait(3 + 3) == 0  # three more for a machine that is busy
        for thread in asking:
            thread.join(60)
        half_body = received(connections["body"])
        assert [received(connections[name]) for name in ("head", "nothing")] == [b"", b""]
    assert [answer.status_code for answer in answers] == [503] * len(asked)
    for answer in answers:
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["code"] == "SERVICE_UNAVAILABLE"
        assert answer.json()["detail"] == answer.json()["error"]["message"]
    assert half_body.startswith(b"HTTP/1.1 503")
    assert b"retry-after:" in half_body.lower()
    head, _, taken = received(reads_nothing).partition(b"\r\n\r\n")  # as much as lay in the network, and an end
    stated = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
    assert len(taken) < int(stated.split()[1])
    lines = [json.loads(line) for line in log.read_text().splitlines()]  # and no traceback
    assert {line["event"] for line in lines} == {"request"}


def test_it_ends_although_its_own_loop_stands_still(tmp_path: Path) -> None:
    """What a request makes the process do may keep it from ending by itself; the timer does not wait for that."""
    script = tmp_path / "standing.py"
    script.write_text(
        "import asyncio, sys, time, uvicorn\n"
        "from babelclip.serve.shutdown import StoppableServer\n"
        "async def app(scope, receive, send): time.sleep(3600)\n"
        "async def main():\n"
        "    server = StoppableServer(uvicorn.Config(app, lifespan='off'), [], 1.0)\n"
        "    asyncio.get_running_loop().call_soon(server.stop)\n"
        "    asyncio.get_running_loop().call_later(0.1, time.sleep, 3600)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ended_unfinished" in done.stderr
