"""Run the page on this machine, indexing beside it what the user named: what ``babelclip ui`` does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from babelclip.encodes import Encodes
from babelclip.errors import ConfigError
from babelclip.search.index import Index
from babelclip.serve.bounded_connection import bounded
from babelclip.serve.repeated_lines import limit_repeated_lines
from babelclip.web.app import make_page
from babelclip.web.curl import Api
from babelclip.web.indexing_job import IndexingJob
from babelclip.web.state import CountTokens

MAX_CONNECTIONS = 256
RESTING_SECONDS = 5
DRAIN_SECONDS = 5
"""In which what is under way is finished when the page is stopped."""


def run_page(
    index: Index,
    encoder: Encodes,
    folders: Sequence[Path],
    *,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    on_indexed: Callable[[str], None],
    names: Sequence[str] = (),
    count_tokens: CountTokens | None = None,
    api: Api | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        index: what is searched.
        encoder: the model.
        folders: what is indexed beside it.
        host: address to listen at.
        port: 0 takes a free one.
        on_ready: called with the address when it answers.
        on_indexed: called with a line when indexing has ended.
        names: as for ``make_page``.
        count_tokens: as for ``make_page``.
        api: as for ``make_page``.

    Raises:
        ConfigError: the address cannot be listened at.
    """
    job = IndexingJob(index, folders, on_indexed) if folders else None
    app = make_page(index, encoder, names=[host, *names], count_tokens=count_tokens, api=api, job=job)
    listener = _listen(host, port)
    address = f"http://{'localhost' if host in ('127.0.0.1', '::1') else host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        http=bounded(MAX_CONNECTIONS),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=RESTING_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    server = uvicorn.Server(config)
    limit_repeated_lines()
    if job is not None:
        threading.Thread(target=job.run, daemon=True).start()
    on_ready(address)
    server.run([listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
