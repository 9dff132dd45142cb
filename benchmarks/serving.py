"""The server under load, every vector checked, and what HTTP costs beside the library in the same run.

    python benchmarks/serving.py [--minutes 10] [--clients 64] [--out benchmarks/results/serving.json]

Load: as many clients as told, each with a connection of its own, send one mixed request after another: one to four
texts and now and then a photo, in random widths. Each vector is compared with the library's. Memory is that of the
front and the worker together, as the kernel counts it (PSS), every five seconds after the first minute.

Overhead: clients send one short text a request through HTTP; the library embeds the same texts in batches; in turns,
and the ratio is that of medians. The lone request's latency is measured with nothing beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import babelclip
from babelclip.demo.album import read_album
from babelclip.evaluate.results import describe_origin, now

ROOT = Path(__file__).resolve().parents[1]
MODEL = "babelclip-small"
WIDTHS = (None, 64, 128, 384)
TOLERANCE = 1e-4
SETTLED_SECONDS, PAUSE = 60.0, 5.0


class Memory(threading.Thread):
    """What the server's processes hold, over time."""

    def __init__(self, front: int) -> None:
        super().__init__(daemon=True)
        self._front = front
        self._over = threading.Event()
        self.megabytes: list[float] = []

    def run(self) -> None:
        self._over.wait(SETTLED_SECONDS)
        while not self._over.wait(PAUSE):
            children = Path(f"/proc/{self._front}/task/{self._front}/children").read_text().split()
            self.megabytes.append(sum(pss(int(each)) for each in (self._front, *children)))

    def stop(self) -> None:
        self._over.set()
        self.join()


def pss(process: int) -> float:
    """Megabytes of a process, shared pages divided among those that share them."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


class Load:
    """Clients that ask and check."""

    def __init__(self, address: str, texts: list[str], photos: list[bytes], encoder: babelclip.Encoder) -> None:
        self._address = address
        self._texts, self._wanted_texts = texts, encoder.encode_text(texts)
        self._photos = [{"image": base64.b64encode(photo).decode()} for photo in photos]
        self._wanted_photos = encoder.encode_image(photos)
        self.seconds: list[float] = []
        self.wrong, self.items, self.refused = 0, 0, 0

    async def run(self, clients: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._client(number, until) for number in range(clients)))

    async def _client(self, number: int, until: float) -> None:
        chance = random.Random(number)
        async with httpx.AsyncClient(base_url=self._address, trust_env=False, timeout=120) as client:
            while time.monotonic() < until:
                await self._ask(client, chance)

    async def _ask(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        places = [("text", chance.randrange(len(self._texts))) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.25:
            places.insert(chance.randrange(len(places) + 1), ("photo", chance.randrange(len(self._photos))))
        items = [self._texts[at] if kind == "text" else self._photos[at] for kind, at in places]
        width = chance.choice(WIDTHS)
        started = time.perf_counter()
        answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": items, "dimensions": width})
        if answer.status_code in (429, 503):
            self.refused += 1
            await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
            return
        answer.raise_for_status()
        self.seconds.append(time.perf_counter() - started)
        found = answer.json()["data"]
        self.items += len(items)
        for (kind, at), each in zip(places, found, strict=True):
            whole = (self._wanted_texts if kind == "text" else self._wanted_photos)[at]
            wanted = whole[:width] / np.linalg.norm(whole[:width])
            self.wrong += not np.allclose(each["embedding"], wanted, atol=TOLERANCE)


def under_load(address: str, front: int, load: Load, clients: int, minutes: float) -> dict[str, Any]:
    """Latencies, throughput, wrong vectors and memory."""
    memory = Memory(front)
    memory.start()
    asyncio.run(load.run(clients, 60 * minutes))
    memory.stop()
    held = memory.megabytes
    if not held:
        raise ValueError("memory is looked at after the first minute; measure for longer")
    third = max(1, len(held) // 3)
    first, last = statistics.median(held[:third]), statistics.median(held[-third:])
    milliseconds = [1000 * each for each in load.seconds]
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {
        "clients": clients,
        "minutes": minutes,
        "requests": len(load.seconds),
        "items": load.items,
        "refused": load.refused,
        "wrong_vectors": load.wrong,
        "requests_per_second": round(len(load.seconds) / (60 * minutes), 2),
        "items_per_second": round(load.items / (60 * minutes), 2),
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "p99_ms": round(float(p99), 1),
        "memory_mb_first_third": round(first, 1),
        "memory_mb_last_third": round(last, 1),
        "memory_growth_percent": round(100 * (last / first - 1), 2),
    }


class Wire:
    """A connection that costs next to nothing: what is measured is the server, which shares its cores with it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def post(self, body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        head = "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in answered[:20]:
            raise RuntimeError(f"the server answered {answered[:80]!r}")
        length = int(answered.split(b"content-length: ")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(length)


async def ask_all(address: str, texts: list[str], clients: int) -> float:
    """Texts a second through HTTP, one a request."""
    waiting = list(texts)
    host, _, port = address.removeprefix("http://").partition(":")

    async def client() -> None:
        wire = Wire(*await asyncio.open_connection(host, int(port)))
        while waiting:
            await wire.post({"model": MODEL, "input": waiting.pop(), "embedding_type": "base64"})
        wire.writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return len(texts) / (time.perf_counter() - started)


def overhead(address: str, texts: list[str], clients: int, encoder: babelclip.Encoder, rounds: int) -> dict[str, Any]:
    """The server's rate beside the library's, in turns."""
    http, library = [], []
    asyncio.run(ask_all(address, texts[:200], clients))  # connections, and shapes that the runtime has not seen yet
    for _ in range(rounds):
        http.append(asyncio.run(ask_all(address, texts, clients)))
        started = time.perf_counter()
        encoder.encode_text(texts)
        library.append(len(texts) / (time.perf_counter() - started))
    lone = []
    with httpx.Client(base_url=address, trust_env=False) as client:
        for text in texts[:200]:
            started = time.perf_counter()
            client.post("/v1/embeddings", json={"model": MODEL, "input": text, "embedding_type": "base64"})
            lone.append(1000 * (time.perf_counter() - started))
    alone = []
    for text in texts[:200]:
        started = time.perf_counter()
        encoder.encode_text(text)
        alone.append(1000 * (time.perf_counter() - started))
    return {
        "clients": clients,
        "texts": len(texts),
        "http_texts_per_second": round(statistics.median(http), 1),
        "library_texts_per_second": round(statistics.median(library), 1),
        "http_over_library": round(statistics.median(http) / statistics.median(library), 3),
        "lone_http_ms": round(statistics.median(lone), 2),
        "lone_library_ms": round(statistics.median(alone), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "serving.json")
    options = parser.parse_args()
    album = read_album()
    queries = [query.text for query in album.queries]
    texts = [f"{query} {number}" for number in range(60) for query in queries][:1200]
    encoder = babelclip.load()
    command = [sys.executable, "-m", "babelclip", "serve", "--port", "0", "--log", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            beside = overhead(address, texts, options.clients, encoder, options.rounds)
            print(json.dumps(beside, indent=1), flush=True)
            load = Load(address, texts, [photo.path.read_bytes() for photo in album.photos], encoder)
            loaded = under_load(address, process.pid, load, options.clients, options.minutes)
        finally:
            process.terminate()
    origin = describe_origin(encoder.facts(), None, "serving", 0)
    result = {
        "machine": origin.machine,
        "date": now(),
        "commit": origin.commit,
        "model": encoder.name,
        "note": "the clients and their checks ran on the same cores as the server",
        "overhead": beside,
        "load": loaded,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
