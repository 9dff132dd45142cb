"""A server of its own process under bodies that are made to cost: memory within its bound, and others are answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from babelclip.serve.settings import CONSTANT_MEMORY, MEMORY_PER_BYTE

from .serving import MODEL, peak_megabytes, server

pytestmark = pytest.mark.slow
JSON = {"Content-Type": "application/json"}
SIZE = 6_000_000  # bytes of a body
TIMES_IDLE, SHORTEST = 40, 0.02
"""How much longer than idle another's request may take; idle is taken for this many seconds at least."""


def repeated(unit: str, before: str, after: str) -> bytes:
    return f'{{"model":"{MODEL}",{before}{unit * (SIZE // len(unit.encode()))}{after}}}'.encode()


BODIES = {
    "numbers": repeated("1,", '"input":[', "1]"),
    "lists": repeated("[],", '"input":[', "1]"),
    "objects": repeated('{"a":1},', '"input":"hi","x":[', "1]"),
    "names": repeated('"ab":1,', '"input":"hi","x":{', '"z":1}'),
    "strings": repeated('"ab",', '"input":[', '"z"]'),
    "nested": repeated("[", '"input":', ""),
    "ignored": repeated("x", '"input":"hi","x":"', '"'),
    "wide": repeated("a", '"input":"', '\U0001f600"'),
    "escapes": repeated("\\u00e9", '"input":"', '"'),
    "quotes": repeated('""', "", ""),
    "swelling": repeated("\ufdfa", '"input":"', '"'),
    "vanishing": repeated("\u200b", '"truncate":true,"input":"', '"'),
    "blanks": repeated(" ", '"truncate":true,"input":"', '"'),
    "words": repeated("word ", '"truncate":true,"input":"', '"'),
}
PATHS = ("/v1/embeddings", "/v1/tokens", "/v1/classify", "/v1/multimodalembeddings", "/v2/embed", "/vectorize")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[int, httpx.Client]]:
    with server("--log", "none", "--no-keys") as (process, client):
        client.post("/v1/embeddings", json={"model": MODEL, "input": "warm"})
        yield process.pid, client


def resident(process: int) -> float:
    return int(Path(f"/proc/{process}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def one_word(client: httpx.Client) -> float:
    started = time.perf_counter()
    assert client.post("/v1/embeddings", json={"model": MODEL, "input": "word"}).status_code == 200
    assert client.get("/live").status_code == 200
    return time.perf_counter() - started


@pytest.mark.parametrize("kind", BODIES)
def test_memory_and_others_while_a_body_is_refused_or_answered(running: tuple[int, httpx.Client], kind: str) -> None:
    process, client = running
    idle = max(SHORTEST, max(one_word(client) for _ in range(5)))
    before = resident(process)
    Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew
    answers: list[int] = []

    def send() -> None:
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as other:
            for path in PATHS if kind in ("objects", "wide") else PATHS[:2]:
                answers.append(other.post(path, content=BODIES[kind], headers=JSON).status_code)

    sending = threading.Thread(target=send)
    sending.start()
    longest = 0.0
    while sending.is_alive():
        longest = max(longest, one_word(client))
        time.sleep(0.01)
    assert answers, "the server has ended a connection without an answer"
    assert set(answers) <= {200, 400, 413, 422}
    taken = (peak_megabytes(process) - before) * 2**20
    assert taken < CONSTANT_MEMORY + MEMORY_PER_BYTE * SIZE, f"{taken / SIZE:.1f} bytes for one"
    assert longest < TIMES_IDLE * idle, f"{longest:.2f} s, {idle:.3f} s when idle"


def test_memory_comes_back(running: tuple[int, httpx.Client]) -> None:
    """The same bodies once more leave nothing behind."""
    process, client = running
    left: list[float] = []
    for _ in range(3):
        for kind in ("ignored", "wide", "words"):
            client.post("/v1/tokens", content=BODIES[kind], headers=JSON)
        left.append(resident(process))
    assert left[-1] < 1.1 * left[0], left
