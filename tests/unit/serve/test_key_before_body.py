"""Who asks is seen from the head: on every route that takes a body, nothing of it is read for who has no key."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from babelclip.encoder import Encoder
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access.rate_limits import RateLimiter, Rates
from babelclip.serve.access.waiting_lines import WaitingLineLimits, WaitingLines
from babelclip.serve.app import make_app
from babelclip.serve.errors import TooManyAtOnce, TooManyRequests
from babelclip.serve.settings import ServerSettings

from .posting_routes import posting_paths

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
STATED = 50_000_000  # bytes of a body that never comes


def answer_to_a_head(client: httpx.Client, path: str, headers: str = "") -> bytes:
    assert client.base_url.port is not None
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as raw:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}"
        raw.sendall(f"{head}Content-Length: {STATED}\r\n\r\n".encode())
        answer = b""
        while piece := raw.recv(65536):  # until the server ends the connection
            answer += piece
        return answer


def test_no_route_waits_for_a_body_of_somebody_without_a_key(
    encoder: Encoder, running: Running, tmp_path: Path
) -> None:
    with KeyFile(tmp_path / "keys.db", create=True) as keys:
        _, secret = keys.add("slow", rates=Rates(requests_per_minute=1))
        app = make_app(encoder, ServerSettings(body_seconds=15.0), keys=keys)
        with running(app) as client:
            for path in posting_paths(app):
                assert answer_to_a_head(client, path).startswith(b"HTTP/1.1 401"), path
                assert b"AUTH_INVALID_API_KEY" in answer_to_a_head(client, path, "Authorization: Bearer none\r\n"), path
            key = {"Authorization": f"Bearer {secret}"}
            assert client.post("/v1/tokens", json={"model": encoder.name, "input": "a"}, headers=key).status_code == 200
            over = answer_to_a_head(client, "/v1/embeddings", f"Authorization: Bearer {secret}\r\n")
            assert over.startswith(b"HTTP/1.1 429")
            assert b"Retry-After" in over or b"retry-after" in over


@pytest.mark.parametrize("size", [200_000, 8_000_000])
def test_who_is_still_sending_reads_why(encoder: Encoder, running: Running, tmp_path: Path, size: int) -> None:
    """An answer that comes before the body has been sent is not lost with the connection."""
    with KeyFile(tmp_path / "keys.db", create=True) as keys, running(make_app(encoder, keys=keys)) as client:
        assert client.base_url.port is not None
        for path in ("/v1/embeddings", "/no/such/path"):
            with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as raw:
                raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
                for _ in range(size // 50_000):
                    raw.sendall(b"[],[]" * 10_000)
                answer = b""
                while piece := raw.recv(65536):
                    answer += piece
                assert answer.startswith(b"HTTP/1.1 404" if "no" in path else b"HTTP/1.1 401"), answer[:200]
                assert answer.count(b"HTTP/1.1") == 1


RATES = Rates(concurrency=2)


def test_a_burst_waits_its_turn_in_order() -> None:
    async def burst() -> list[int]:
        lines, started, most = WaitingLines(RateLimiter(), WaitingLineLimits(max_waiting=50, seconds=10)), [], 0
        under_way = 0

        async def one(number: int) -> None:
            nonlocal under_way, most
            with await lines.take("a", RATES):
                started.append(number)
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.001)
                under_way -= 1

        await asyncio.gather(*(one(number) for number in range(50)))
        assert most == 2
        return started

    assert asyncio.run(burst()) == list(range(50))


def test_a_line_has_an_end_and_a_time() -> None:
    async def wait() -> None:
        lines = WaitingLines(RateLimiter(), WaitingLineLimits(max_waiting=1, seconds=0.2))
        held = [await lines.take("a", RATES), await lines.take("a", RATES)]
        waiting = asyncio.create_task(lines.take("a", RATES))
        await asyncio.sleep(0)
        with pytest.raises(TooManyAtOnce):
            await lines.take("a", RATES)  # the line is full
        (await lines.take("b", RATES)).release()  # another key has its own
        with pytest.raises(TooManyAtOnce):
            await waiting  # its time is over
        leaving = asyncio.create_task(lines.take("a", RATES))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        held.pop().release()
        (await lines.take("a", RATES)).release()  # who has left stands in nobody's way

    asyncio.run(wait())


def test_what_waited_counts_in_the_minute_when_it_starts() -> None:
    async def wait() -> None:
        lines = WaitingLines(RateLimiter(), WaitingLineLimits(max_waiting=5, seconds=5))
        rates = Rates(concurrency=1, requests_per_minute=2)
        first = await lines.take("a", rates)
        waiting = [asyncio.create_task(lines.take("a", rates)) for _ in range(2)]
        await asyncio.sleep(0)
        first.release()
        (await waiting[0]).release()
        with pytest.raises(TooManyRequests):
            await waiting[1]

    asyncio.run(wait())
