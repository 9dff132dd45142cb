"""Run the page on this machine, indexing beside it what the user named."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from babelclip.errors import ConfigError
from babelclip.search.index import Index
from babelclip.search.index_encoder import IndexEncoder
from babelclip.web.curl import Api
from babelclip.web.filling import Filling
from babelclip.web.playground import CountTokens
from babelclip.web.routes import make_page


def run_page(
    index: Index,
    encoder: IndexEncoder,
    photos: Sequence[Path],
    *,
    host: str,
    port: int,
    ready: Callable[[str], None],
    told: Callable[[str], None],
    names: Sequence[str] = (),
    count_tokens: CountTokens | None = None,
    api: Api | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        ready: called with the address when it answers.
        told: called with a line when indexing has ended.
        names: as for ``make_page``.
        count_tokens: how many tokens texts are; without it the playground tells no price.
        api: as for ``make_page``.

    Raises:
        ConfigError: the address cannot be listened at.
    """
    filling = Filling(index, photos, told) if photos else None
    app = make_page(index, encoder, names=[host, *names], count_tokens=count_tokens, api=api, filling=filling)
    listening = _listen(host, port)
    address = f"http://{'localhost' if host in ('127.0.0.1', '::1') else host}:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    if filling is not None:
        threading.Thread(target=filling.run, daemon=True).start()
    ready(address)
    server.run([listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
