"""Run the page on this machine, indexing beside it what the user named: what ``babelclip ui`` does.

Requests pass the same limits as those of the API, and it ends as the API does (``serve/shutdown``).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from babelclip.encodes import Encodes
from babelclip.search.index import Index
from babelclip.serve.access_log import AccessLog, write_to_stderr
from babelclip.serve.bounded_connection import bounded
from babelclip.serve.listening import listening
from babelclip.serve.metrics import Metrics
from babelclip.serve.repeated_lines import limit_repeated_lines
from babelclip.serve.request_limits import RequestLimits
from babelclip.serve.settings import ServerSettings
from babelclip.serve.shutdown import StoppableServer, answer
from babelclip.serve.sub_path import SubPath, check_no_path_of_its_own
from babelclip.web.app import FIRST_SEGMENTS, make_page
from babelclip.web.curl import Api
from babelclip.web.indexing_job import IndexingJob
from babelclip.web.settings import PageSettings
from babelclip.web.state import CountTokens

RESTING_SECONDS = 5
SERVER = ServerSettings(max_body_bytes=PageSettings().upload_bytes, max_connections=256, drain_seconds=5.0)
"""A page has fewer clients than the API, and who looks at a terminal does not wait for them."""


def run_page(
    index: Index,
    encoder: Encodes,
    folders: Sequence[Path],
    *,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    on_indexed: Callable[[str], None],
    settings: PageSettings,
    server: ServerSettings,
    count_tokens: CountTokens | None = None,
    api: Api | None = None,
) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    Args:
        index: what is searched.
        encoder: the model.
        folders: what is indexed beside it.
        host: address to listen at.
        port: 0 takes a free one.
        on_ready: called with the address when it answers.
        on_indexed: called with a line when indexing has ended.
        settings: as for ``make_page``.
        server: the limits of connections, bodies and times, and the path below which a proxy has the page.
        count_tokens: as for ``make_page``.
        api: as for ``make_page``.

    Raises:
        ConfigError: the address cannot be listened at.
    """
    write_to_stderr(False)
    limit_repeated_lines()
    job = IndexingJob(index, folders, on_indexed) if folders else None
    page = make_page(index, encoder, settings=settings, host=host, count_tokens=count_tokens, api=api, job=job)
    app = RequestLimits(page, AccessLog(Metrics()), server)
    check_no_path_of_its_own(server.root_path, FIRST_SEGMENTS | {"health"})
    config = uvicorn.Config(
        SubPath(app, server.root_path, has_page=True) if server.root_path else app,
        http=bounded(server.max_connections),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=RESTING_SECONDS,
        server_header=False,
        proxy_headers=False,
    )
    with listening(host, port) as listener:
        name = "localhost" if host in ("127.0.0.1", "::1") else f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}{server.root_path}"

        def begin() -> None:
            on_ready(address)
            if job is not None:
                threading.Thread(target=job.run, daemon=True).start()

        asyncio.run(answer(StoppableServer(config, [], server.drain_seconds), listener, begin))
