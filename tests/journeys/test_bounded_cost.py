"""A server of its own process under bodies that are made to cost, every kind at every route that takes a body.

All routes get a kind at once, and memory stays within the written bound of what is under way; others are answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

import babelclip
from babelclip.serve.app import make_app
from babelclip.serve.settings import CONSTANT_MEMORY, MEMORY_PER_BYTE

from ..unit.serve.posting_routes import posting_paths
from .serving import MODEL, peak_megabytes, resident_megabytes, server

pytestmark = pytest.mark.stress
JSON = {"Content-Type": "application/json"}
SIZE = 3_000_000  # bytes of a body
TIMES_IDLE, SHORTEST = 40, 0.02
"""How much longer than idle another's request may take; idle is taken for this many seconds at least."""
INPUT_FIELDS = {
    "/v2/embed": '"texts":',
    "/v1/embed": '"texts":',
    "/vectorize": '"texts":',
    "/v1/classify": '"labels":["a","b"],"input":',
    "/v1/multimodalembeddings": '"inputs":',
    "/multimodalembeddings": '"inputs":',
}
"""What stands before a route's items, where it is not as in ``/v1/embeddings``."""


def repeated(unit: str, before: str, after: str) -> str:
    return f"{before}{unit * (SIZE // len(unit.encode()))}{after}"


KINDS = {
    "numbers": repeated("1,", "[", "1]"),
    "lists": repeated("[],", "[", "1]"),
    "objects": repeated('{"a":1},', '["hi"],"x":[', "1]"),
    "names": repeated('"ab":1,', '["hi"],"x":{', '"z":1}'),
    "long name": repeated("x", '["hi"],"', '":1'),
    "strings": repeated('"ab",', "[", '"z"]'),
    "nested": repeated("[", "", ""),
    "ignored": repeated("x", '["hi"],"x":"', '"'),
    "wide": repeated("a", '["', '\U0001f600"]'),
    "wide items": repeated("a" * 300_000 + '\U0001f600","', '["', '"]'),
    "wide and ignored": repeated("a" * 600 + '\U0001f600","', '["hi"],"x":["', '"]'),
    "escapes": repeated("\\u00e9", '["', '"]'),
    "pairs": repeated("\\ud83d\\ude00", '["', '"]'),
    "quotes": repeated('""', "", ""),
    "image": repeated("QUJD", '[{"image":"', '"}]'),
    "swelling": repeated("\ufdfa", '["', '"]'),
    "vanishing": repeated("\u200b", '["', '"]'),
    "blanks": repeated(" ", '["', '"]'),
    "space": repeated(" ", "", '["hi"]'),
    "words": repeated("word ", '["', '"]'),
    "digits": repeated("1", "[", "]"),
}


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """Every route that takes a body, read from the application: a new one is tested unasked."""
    found = posting_paths(make_app(babelclip.load()))
    assert set(found) >= set(INPUT_FIELDS)
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[int, httpx.Client]]:
    with server("--log", "none", "--no-keys") as (process, client):
        client.post("/v1/embeddings", json={"model": MODEL, "input": "warm"})
        yield process.pid, client


def one_word(client: httpx.Client) -> float:
    started = time.perf_counter()
    assert client.post("/v1/embeddings", json={"model": MODEL, "input": "word"}).status_code == 200
    assert client.get("/live").status_code == 200
    return time.perf_counter() - started


def send(client: httpx.Client, kind: str, path: str) -> int:
    field = INPUT_FIELDS.get(path, '"input":')
    content = f'{{"model":"{MODEL}",{field}{KINDS[kind]}}}'.encode()
    with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as other:
        return other.post(path, content=content, headers=JSON).status_code


@pytest.mark.parametrize("kind", KINDS)
def test_memory_while_every_route_gets_a_body(running: tuple[int, httpx.Client], paths: list[str], kind: str) -> None:
    process, client = running
    before = resident_megabytes(process)
    Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew
    with ThreadPoolExecutor(len(paths)) as threads:
        answers = dict(zip(paths, threads.map(partial(send, client, kind), paths), strict=True))
    assert set(answers.values()) <= {200, 400, 413, 422}, answers
    taken, size = (peak_megabytes(process) - before) * 2**20, len(paths) * SIZE
    assert taken < CONSTANT_MEMORY + MEMORY_PER_BYTE * size, f"{taken / size:.1f} bytes for one"


@pytest.mark.parametrize("kind", KINDS)
def test_others_while_a_body_is_refused_or_answered(running: tuple[int, httpx.Client], kind: str) -> None:
    _, client = running
    idle = max(SHORTEST, max(one_word(client) for _ in range(5)))
    longest = 0.0
    with ThreadPoolExecutor(1) as threads:
        for path in ("/v1/embeddings", "/v1/tokens"):
            sent = threads.submit(send, client, kind, path)
            while not sent.done():
                longest = max(longest, one_word(client))
                time.sleep(0.01)
            assert sent.result() in (200, 400, 413, 422)
    assert longest < TIMES_IDLE * idle, f"{longest:.2f} s, {idle:.3f} s when idle"
