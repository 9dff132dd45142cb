"""The bundled model behind a real HTTP server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

import babelclip
from babelclip.encoder import Encoder
from babelclip.serve.app import make_app
from babelclip.serve.bounded_connection import bounded
from babelclip.serve.settings import ServerSettings


@contextmanager
def run_app(app: FastAPI) -> Iterator[httpx.Client]:
    """The application on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, http=bounded(1024), port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def running() -> Callable[[FastAPI], AbstractContextManager[httpx.Client]]:
    return run_app


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return babelclip.load()


@pytest.fixture(scope="session")
def client(encoder: Encoder) -> Iterator[httpx.Client]:
    settings = ServerSettings(served_names=("jina-clip-v2",), max_items=20, max_body_bytes=400_000)
    with run_app(make_app(encoder, settings)) as client:
        yield client
