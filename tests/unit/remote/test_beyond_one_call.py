"""RemoteEncoder tried as the clients are: another process, many texts, odd ones, twenty at once, and told to wait."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from babelclip import RemoteEncoder, ServerError, TruncationWarning
from babelclip.encoder import Encoder
from babelclip.remote.http_transport import LEAST_PAUSE, HttpTransport
from babelclip.serve.app import make_app
from babelclip.serve.settings import ServerSettings

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
LONG = "word " * 600
pytestmark = pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")  # of the server, in this process


@pytest.fixture(scope="module")
def remote(encoder: Encoder, running: Running) -> Iterator[RemoteEncoder]:
    with running(make_app(encoder)) as client, RemoteEncoder(str(client.base_url)) as remote:
        yield remote


def test_another_process_asks_the_same_of_the_same_server(
    remote: RemoteEncoder, encoder: Encoder, tmp_path: Path
) -> None:
    """A program of its own, which has nothing but the pickle."""
    (tmp_path / "stored").write_bytes(pickle.dumps(remote))
    program = """
import json, pickle, warnings
warnings.simplefilter("ignore")
with pickle.load(open("stored", "rb")) as remote:
    found = remote.encode_text(["a dog", "", "word " * 600], dim=64)
    raw = remote.encode_text("a dog", normalize=False)
    print(json.dumps([remote.facts()["remote"], str(found.dtype), found.tolist(), raw.tolist()]))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    where, dtype, found, raw = json.loads(done.stdout)
    assert (where, dtype) == (remote.facts()["remote"], "float32")
    with pytest.warns(TruncationWarning):
        assert np.allclose(found, encoder.encode_text(["a dog", "", LONG], dim=64), atol=1e-5)
    assert np.allclose(raw, encoder.encode_text("a dog", normalize=False), atol=1e-4)


def test_more_than_a_request_holds_and_twenty_at_once(remote: RemoteEncoder, encoder: Encoder) -> None:
    texts = ["a dog", "a cat", "ein Hund"] * 200
    assert np.allclose(remote.encode_text(texts), np.tile(encoder.encode_text(texts[:3]), (200, 1)), atol=1e-5)
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: remote.encode_text("a dog"), range(20)))
    assert np.allclose(found, np.tile(encoder.encode_text("a dog"), (20, 1)), atol=1e-5)


def test_a_server_that_cuts_unasked_cuts_nothing_in_silence(encoder: Encoder, running: Running) -> None:
    app = make_app(encoder, ServerSettings(truncate=True))
    with running(app) as client, RemoteEncoder(str(client.base_url)) as remote:
        with pytest.warns(TruncationWarning) as told:  # the server of this test is in this process, and warns too
            found = remote.encode_text([LONG, "short"])
        assert any("the server has cut" in str(each.message) for each in told)
        with pytest.warns(TruncationWarning):
            assert np.allclose(found, encoder.encode_text([LONG, "short"]), atol=1e-6)


@contextmanager
def busy(status: int, retry_after: str | None, times: int = 1) -> Iterator[tuple[str, list[float]]]:
    """A server that refuses so often, then answers, and the times at which it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(time.monotonic())
            content = b"{}"
            self.send_response(status if len(asked) <= times else 200)
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def waits(status: int, retry_after: str | None, patience: float = 90, times: int = 1) -> list[float]:
    """What a transport waits for before it asks again."""
    found: list[float] = []
    with busy(status, retry_after, times) as (url, _):
        transport = HttpTransport(url, None, timeout=5, patience=patience, sleep=found.append)
        transport.post("/embeddings", {})
        transport.close()
    return found


@pytest.mark.parametrize("status", [429, 502, 503])
def test_it_comes_back_when_it_is_told_to(status: int) -> None:
    assert waits(status, "7") == [7]
    (until_then,) = waits(status, formatdate(time.time() + 30, usegmt=True))
    assert 25 < until_then <= 31
    assert waits(status, None, times=3) == [0.5, 1, 2]


@pytest.mark.parametrize("said", ["0", formatdate(0, usegmt=True)])
def test_a_server_that_says_at_once_is_not_asked_without_a_pause(said: str) -> None:
    assert waits(503, said, times=3) == [LEAST_PAUSE] * 3


@pytest.mark.parametrize("said", ["²", "soon", "-3", "1.5", "Mon, 99 Foo 2026", "", "inf", "nan"])
def test_what_is_no_time_is_as_good_as_not_said(said: str) -> None:
    assert waits(503, said) == [0.5]


@pytest.mark.parametrize(("status", "said"), [(429, "9" * 5000), (503, "3600"), (500, "1"), (400, "1"), (504, "1")])
def test_longer_than_its_patience_or_another_error_is_told_at_once(status: int, said: str) -> None:
    with busy(status, said) as (url, asked):
        transport = HttpTransport(url, None, timeout=5, patience=60)
        with pytest.raises(ServerError) as caught:
            transport.post("/embeddings", {})
        transport.close()
        assert (caught.value.status, len(asked)) == (status, 1)
