"""What a server took for its worst requests it gives back: the front and the worker, measured by what each has idle."""

from __future__ import annotations

import base64
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip.serve.settings import ServerSettings

from .serving import MODEL, resident_megabytes, server, worker_of

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc"),
]
COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
JSON = {"Content-Type": "application/json"}
MOST = 1.1  # of what it has idle
DEADLINE = 15.0  # seconds in which it has come back
SIZE = 12_000_000  # bytes of a text


def photo(width: int, height: int) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(file, "JPEG", quality=50)
    return base64.b64encode(file.getvalue()).decode()


def body(items: str) -> bytes:
    return f'{{"model":"{MODEL}","truncate":true,"input":[{items}]}}'.encode()


def test_memory_comes_back_to_idle() -> None:
    with server("--log", "none", "--no-keys") as (process, client):
        processes = {"front": process.pid, "worker": worker_of(process)}
        pixel = {"image": photo(8, 8)}
        client.post("/v1/embeddings", json={"model": MODEL, "input": ["warm", pixel]})
        idle = {name: resident_megabytes(number) for name, number in processes.items()}
        settings = ServerSettings()
        needed = sum(idle.values()) * 2**20 + settings.body_memory + settings.decoding_memory
        allowed = re.search(r"mem_limit: (\d+)g", COMPOSE.read_text())
        assert allowed is not None
        assert needed < int(allowed[1]) * 2**30, f"{needed / 2**30:.2f} GiB are needed, {idle}"
        large = photo(8000, 6000)
        bodies = [
            body('"' + "word " * (SIZE // 5) + '"'),
            body('"' + "x" * (SIZE - 4) + '\U0001f600"'),
            body('"hi"],"x":["' + "x" * SIZE + '"'),
            body(", ".join(['"' + "word " * 400 + '"'] * 12)),
            body(", ".join([f'{{"image":"{large}"}}'] * 4)),
        ]
        for content in bodies:
            for path in ("/v1/tokens", "/v1/embeddings"):
                answer = client.post(path, content=content, headers=JSON)
                assert answer.status_code == 200, answer.text[:500]
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            left = {name: resident_megabytes(number) / idle[name] for name, number in processes.items()}
            if max(left.values()) < MOST:
                return
            time.sleep(0.2)
        pytest.fail(f"of the memory when idle are held: {left}")
