"""RemoteEncoder against a real server: it stands for the encoder behind it, and says what goes wrong."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from babelclip import ConfigError, ItemsError, RemoteEncoder, ServerError, TruncationWarning, UnknownTask
from babelclip.encoder import Encoder
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access.rate_limits import Rates
from babelclip.serve.app import make_app

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
MODEL = "babelclip-small"


@pytest.fixture(scope="module")
def remote(client: httpx.Client) -> Iterator[RemoteEncoder]:
    with RemoteEncoder(str(client.base_url), model="jina-clip-v2") as remote:
        yield remote


def picture(width: int, height: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise, mode).resize((width, height)).save(file, kind)
    return file.getvalue()


def test_it_stands_for_the_encoder(remote: RemoteEncoder, encoder: Encoder) -> None:
    assert (remote.name, remote.dim, remote.dims) == (MODEL, encoder.dim, encoder.dims)
    assert remote.logit_scale == encoder.logit_scale
    assert (remote.max_tokens, remote.image_size) == (encoder.max_tokens, encoder.image_size)
    assert remote.facts()["fingerprint"] == encoder.facts()["fingerprint"]
    texts = [f"text number {n}" for n in range(50)]  # more than one request: the server takes 20 items
    assert np.allclose(remote.encode_text(texts), encoder.encode_text(texts), atol=1e-6)
    assert np.allclose(remote.encode_text(iter(texts[:2])), encoder.encode_text(texts[:2]), atol=1e-6)
    raw = remote.encode_text("ein Hund", dim=64, normalize=False)
    assert np.allclose(raw, encoder.encode_text("ein Hund", dim=64, normalize=False), atol=1e-4)
    assert remote.encode_text([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda remote: pickle.loads(pickle.dumps(remote))])
def test_copies_and_pickles_ask_the_same_server(
    remote: RemoteEncoder, way: Callable[[RemoteEncoder], RemoteEncoder]
) -> None:
    twin = way(remote.upright())
    assert twin.facts() == remote.facts()
    assert np.array_equal(twin.encode_text(["a dog", "a cat"]), remote.encode_text(["a dog", "a cat"]))
    assert np.array_equal(twin.encode_image(picture(60, 40)), remote.encode_image(picture(60, 40)))
    if way is not copy.copy:  # that one shares its connections
        twin.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking where there are threads
def test_a_forked_worker_has_connections_of_its_own(remote: RemoteEncoder) -> None:
    """On a shared one each process would read answers that are meant for the other."""
    texts = [f"text number {n}" for n in range(30)]
    expected = remote.encode_text(texts)
    child = os.fork()
    if not child:
        try:
            same = all(np.array_equal(remote.encode_text(texts), expected) for _ in range(5))
        except BaseException:
            same = False
        os._exit(0 if same else 1)
    assert all(np.array_equal(remote.encode_text(texts), expected) for _ in range(5))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("shrink", [True, False])
def test_images_of_every_kind_have_the_same_vectors(
    client: httpx.Client, encoder: Encoder, tmp_path: Path, shrink: bool
) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(picture(300, 200))
    images = [
        file, picture(640, 480), picture(100, 333, "RGBA", "PNG"), Image.new("L", (50, 60), 99),
        np.full((40, 30, 3), 7, np.uint8), *(picture(64 + n, 64) for n in range(6)),
    ]  # fmt: skip
    with RemoteEncoder(str(client.base_url), model=MODEL, shrink_images=shrink) as remote:
        assert np.allclose(remote.encode_image(images), encoder.encode_image(images), atol=1e-6)


def test_shrunken_images_cost_one_tile(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        for shrink, cost in ((True, 4000), (False, 24000)):
            key, secret = keys.add("me")
            with RemoteEncoder(str(client.base_url), secret, shrink_images=shrink) as remote:
                remote.encode_image(picture(1500, 1000))
            assert keys.get(key.id).usage.image_tokens == cost


def test_a_bad_item_fails_alone(remote: RemoteEncoder, encoder: Encoder) -> None:
    broken = picture(300, 300)[:500]
    for shrink in (True, False):
        with RemoteEncoder(str(remote.facts()["remote"]), model=MODEL, shrink_images=shrink) as each:
            with pytest.raises(ItemsError) as caught:
                each.encode_image([picture(50, 50), broken, picture(60, 60)])
            assert list(caught.value.failures) == [1]
            assert np.allclose(caught.value.vectors[2], encoder.encode_image(picture(60, 60)), atol=1e-6)
    with pytest.raises(ItemsError) as caught:
        remote.encode_text(["a", 3, "b"])  # type: ignore[list-item]
    assert list(caught.value.failures) == [1]


def test_a_stream_in_order_with_errors_in_place(remote: RemoteEncoder, encoder: Encoder) -> None:
    items = ["a", picture(40, 40), "b", b"no image", "c"]
    found = list(remote.stream(items))  # type: ignore[arg-type]
    assert [each.index for each in found] == [0, 1, 2, 3, 4]
    assert [each.error is None for each in found] == [True, True, True, False, True]
    assert found[4].vector is not None
    assert np.allclose(found[4].vector, encoder.encode_text("c"), atol=1e-6)


def test_a_long_text_is_cut_and_told(remote: RemoteEncoder, encoder: Encoder) -> None:
    long = "word " * 600
    with pytest.warns(TruncationWarning) as told:  # the server of this test is in this process, and warns too
        found = remote.encode_text([long, "short"])
    assert any("the server has cut" in str(each.message) for each in told)
    with pytest.warns(TruncationWarning):
        assert np.allclose(found, encoder.encode_text([long, "short"]), atol=1e-6)


def test_options_that_cannot_be(remote: RemoteEncoder, client: httpx.Client) -> None:
    with pytest.raises(ConfigError, match="max_tokens"):
        remote.encode_text("a", max_tokens=5)
    with pytest.raises(ConfigError, match="from 1 to 384"):
        remote.encode_text("a", dim=5000)
    with pytest.raises(UnknownTask, match="unknown task 'poetry'; this model knows none at all"):
        remote.encode_text(["a", "b"], task="poetry")
    with pytest.raises(ConfigError, match="does not tell the width of 'gpt'"):
        RemoteEncoder(str(client.base_url), model="gpt")
    for url in ("127.0.0.1:80", "ftp://x", "http://me:secret@host"):
        with pytest.raises(ConfigError, match="address of a server"):
            RemoteEncoder(url)


def test_a_wrong_key_and_a_spent_balance(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        url = str(client.base_url)
        with RemoteEncoder(url, "wrong") as remote, pytest.raises(ServerError, match="AUTH_INVALID_API_KEY") as caught:
            remote.encode_text("a")
        assert caught.value.status == 401
        _, secret = keys.add("poor", balance=5)
        with RemoteEncoder(url, secret) as remote, pytest.raises(ServerError, match="AUTHZ_INSUFFICIENT_BALANCE"):
            remote.encode_text(["one two three", "four five six"])


def test_it_waits_as_long_as_the_server_says(encoder: Encoder, running: Running, tmp_path: Path) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        _, secret = keys.add("slow", rates=Rates(requests_per_minute=1))
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            raise KeyboardInterrupt  # long enough

        with RemoteEncoder(str(client.base_url), secret, patience=90) as remote:
            remote.encode_text("a")
            remote._transport._sleep = sleep
            with pytest.raises(KeyboardInterrupt):
                remote.encode_text("a")
            assert 1 <= waits[0] <= 61
        with RemoteEncoder(str(client.base_url), secret, patience=0) as remote:
            with pytest.raises(ServerError, match="RATE_REQUEST_LIMIT_EXCEEDED") as caught:
                remote.encode_text("a")
            assert caught.value.status == 429


def test_nobody_there() -> None:
    with pytest.raises(ServerError, match="cannot be reached"):
        RemoteEncoder("http://127.0.0.1:9", patience=0)


def test_another_model_behind_the_same_address_is_an_error(encoder: Encoder, running: Running) -> None:
    with running(make_app(encoder)) as client, RemoteEncoder(str(client.base_url)) as remote:
        remote._facts["fingerprint"] = "what it was before"
        with pytest.raises(ServerError, match="another model: expected revision what it was before"):
            remote.encode_text("a")


@contextmanager
def foreign(answers: dict[str, object]) -> Iterator[str]:
    """A server of this API that is not ours: it tells no more of its models than Jina's does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [{"data": []}, {}, {"data": [{"index": 0, "embedding": "AAAA"}]}, {"data": [{"index": 0, "embedding": [1.0]}]}],
)
def test_an_answer_that_cannot_be_right_is_none(answer: object) -> None:
    card = {"data": [{"id": "jina-clip-v2"}, {"id": "other"}]}
    with foreign({"/v1/models": card, "/v1/embeddings": answer}) as url:
        with RemoteEncoder(url, model="jina-clip-v2") as remote:
            assert (remote.dim, remote.image_size) == (1024, 512)
            with pytest.raises(ServerError):
                remote.encode_text("a")
        with pytest.raises(ConfigError, match="name one of jina-clip-v2, other"):
            RemoteEncoder(url)
