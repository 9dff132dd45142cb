"""`babelclip serve` as a process of its own, for tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

COMMAND = [sys.executable, "-m", "babelclip"]
MODEL = "babelclip-small"


@contextmanager
def server(
    *options: str, log: Path | None = None, **client_options: Any
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A running server and a client of it; log: where its stderr goes."""
    command = [*COMMAND, "serve", "--port", "0", *options]
    with (
        open(log or "/dev/null", "w", encoding="utf-8") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            asked = {"base_url": address, "trust_env": False, "timeout": 60, **client_options}
            with httpx.Client(**asked) as client:
                yield process, client
        finally:
            process.kill()


def worker_of(process: subprocess.Popen[str]) -> int:
    """The process id of its only worker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def peak_megabytes(process: int) -> float:
    """The most memory that a process has ever held (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def resident_megabytes(process: int) -> float:
    """What a process holds now (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def image_host(folder: Path) -> Iterator[str]:
    """A web server with the files of a folder, as HOST:PORT."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{site.server_port}"
        site.shutdown()
