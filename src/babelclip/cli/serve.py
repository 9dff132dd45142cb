"""``babelclip serve``: the embeddings API over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def serve(
    *,
    model: tuple[str, ...] = (),
    served_name: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: int = 8080,
    keys: Path | None = None,
    no_keys: bool = False,
    fetch_urls: Annotated[bool, Parameter(negative="--no-fetch-urls")] = False,
    fetch_allow: tuple[str, ...] = (),
) -> int:
    """Answer the Jina embeddings API over HTTP, and what OpenAI's clients send. Prints its address when it can answer.

    Ctrl-C or SIGTERM finishes what was accepted and ends.

    Parameters
    ----------
    model
        A model folder or a hub name; several times for several models. The bundled model when left out.
    served_name
        A further name under which the one model answers, so that a client keeps its code.
    host
        Address to listen at. Beyond this machine only with --keys or --no-keys.
    port
        Port to listen at; 0 takes a free one.
    keys
        Ask for API keys, those of this file (babelclip keys create makes it).
    no_keys
        Let everybody in who can reach the address.
    fetch_urls
        Fetch images that are named by URL, from public addresses alone.
    fetch_allow
        HOST or HOST:PORT whose images are fetched wherever it is, also without TLS. Several times for several.
    """
    from babelclip.bundled import bundled_folder
    from babelclip.errors import RuntimeUnavailable

    try:
        from babelclip.serve.fetch_image import FetchPolicy
        from babelclip.serve.run import Address, run_server
        from babelclip.serve.settings import ServerSettings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "uvicorn", "orjson", "h11", "idna", "starlette"):
            raise
        hint = f"the server needs {error.name}; install it with: pip install 'babelclip[server]'"
        raise RuntimeUnavailable(hint) from error
    policy = FetchPolicy(enabled=fetch_urls or bool(fetch_allow), allow=fetch_allow)
    settings = ServerSettings(served_names=served_name, fetch=policy)
    address = Address(host=host, port=port, keys=keys, open_to_all=no_keys)
    run_server(model or (bundled_folder(),), settings, address)
    return 0
