"""``babelclip ui``: search in the browser."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from babelclip.cli.options import KEY_VARIABLE, IndexOption, ModelOptions, OpenPageOption
from babelclip.cli.page_options import PageOptions, PageServerOptions
from babelclip.cli.plain_output import say

if TYPE_CHECKING:
    from babelclip.encoder import Encoder


def ui(
    photos: list[Path] | None = None,
    /,
    *,
    index: IndexOption = None,
    host: str = "127.0.0.1",
    port: int = 8090,
    root_path: str = "",
    open_page: OpenPageOption = True,
    model: ModelOptions = ModelOptions(),
    page: Annotated[PageOptions | None, Parameter(group="Page")] = None,
    limits: PageServerOptions | None = None,
) -> int:
    """Search in the browser: results as you type, images dropped onto the page, similar ones by a click.

    babelclip ui ~/Photos

    Args:
        photos: Folders to index first, while the page answers already.
        host: Address to listen at: whoever can reach it sees the indexed photos, because there are no passwords.
        port: Port to listen at; 0 takes a free one.
        root_path: The path below which a proxy has the server, as /embeddings-api.
    """
    from babelclip import RemoteEncoder
    from babelclip.cli.demo import has_display
    from babelclip.errors import ConfigError
    from babelclip.optional_dependency import needed_for
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url

    with needed_for("the page", "server"):
        from babelclip.web.curl import Api
        from babelclip.web.run import run_page
    for path in photos or []:
        if not path.exists():
            raise ConfigError(f"{path}: there is no such file or folder")

    def on_ready(address: str) -> None:
        print(address, flush=True)
        if open_page and has_display():
            webbrowser.open(address)

    def on_indexed(line: str) -> None:
        say(line)

    settings = (page or PageOptions()).settings()
    server = (limits or PageServerOptions()).settings(settings.upload_bytes, root_path)
    encoder = model.open()
    url = index_url(index)
    count, api = None, Api()
    if isinstance(encoder, RemoteEncoder):  # a server tells its own price, by the answers that it gives
        api = Api(str(encoder.facts()["remote"]), needs_key=KEY_VARIABLE in os.environ)
    else:
        count = partial(_tokens, encoder)
    with Index.open(url, encoder, create=bool(photos)) as opened:
        run_page(
            opened,
            encoder,
            photos or [],
            host=host,
            port=port,
            on_ready=on_ready,
            on_indexed=on_indexed,
            settings=settings,
            server=server,
            count_tokens=count,
            api=api,
        )
    return 0


def _tokens(encoder: Encoder, texts: Sequence[str]) -> int:
    return sum(map(len, encoder.tokenize(texts)))
