"""``babelclip serve``: the embeddings API over HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from babelclip.cli.options import IndexOption, group_for
from babelclip.cli.page_options import PageOptions
from babelclip.cli.serve_options import (
    FETCH,
    IMAGE,
    ComputeOptions,
    ContractOptions,
    ImageOptions,
    LimitOptions,
    given,
)

if TYPE_CHECKING:
    from babelclip.serve.app import MountApp
    from babelclip.serve.run import Address
    from babelclip.serve.settings import Mode
    from babelclip.web.settings import PageSettings

SAGEMAKER_MODEL = Path("/opt/ml/model")
"""Where SageMaker puts the model that it was given for the container."""
PAGE = Parameter(group=group_for("Search page", "--ui"))


def serve(
    *,
    model: tuple[str, ...] = (),
    served_name: tuple[str, ...] = (),
    host: Annotated[str | None, Parameter(env_var="BABELCLIP_HOST")] = None,
    port: int = 8080,
    socket: Path | None = None,
    certificate: Path | None = None,
    certificate_key: Path | None = None,
    root_path: str = "",
    mode: Annotated[Literal["api", "sagemaker"], Parameter(env_var="BABELCLIP_MODE")] = "api",
    keys: Path | None = None,
    no_keys: bool = False,
    fetch_urls: Annotated[bool, Parameter(negative="--no-fetch-urls")] = False,
    fetch_allow: tuple[str, ...] = (),
    vector_cache: Path | None = None,
    log: Literal["json", "none"] = "json",
    ui: Annotated[bool, PAGE] = False,
    index: Annotated[IndexOption, PAGE] = None,
    ui_without_keys: Annotated[bool, PAGE] = False,
    compute: ComputeOptions | None = None,
    contract: ContractOptions | None = None,
    limits: LimitOptions | None = None,
    images: ImageOptions | None = None,
    page: Annotated[PageOptions | None, PAGE] = None,
) -> int:
    """Answer the Jina embeddings API over HTTP, and what OpenAI's, Voyage's, Cohere's and Weaviate's clients send.

    Prints its address when it can answer. Ctrl-C or SIGTERM finishes what was accepted and ends.

    Args:
        model: The model: a folder or a hub name (org/name); several times for several models. The bundled model when
            left out.
        served_name: A further name under which the one model answers, so that a client keeps its code.
        host: Address to listen at: beyond this machine only with --keys, --no-keys or --mode sagemaker; 127.0.0.1 when
            left out, with --mode sagemaker 0.0.0.0.
        port: Port to listen at; 0 takes a free one.
        socket: Listen at this Unix socket instead of an address and a port; who may ask is who may open the file.
        certificate: Speak TLS with this certificate: a PEM file, its chain after it.
        certificate_key: The key of the certificate, where its file does not hold it.
        root_path: The path below which a proxy has the server, as /embeddings-api.
        mode: api: the APIs. sagemaker: /ping and /invocations alone, without keys, the model from /opt/ml/model where
            it is.
        keys: File of API keys: a request must bring one of them (babelclip keys create makes it).
        no_keys: Let everybody in who can reach the address.
        fetch_urls: Fetch images that are named by URL, from public addresses alone.
        fetch_allow: HOST or HOST:PORT whose images are fetched wherever it is, also without TLS. Several times for
            several.
        vector_cache: Keep vectors in this folder and answer from it what was computed before.
        log: json: a line for every request on stderr. none: only what goes wrong outside of requests.
        ui: The search page of an index and the playground too, as babelclip ui has them, at / of the same address. The
            page asks for no key and no password: whoever reaches it sees the indexed photos.
        ui_without_keys: With --ui and --keys: show the page to everybody all the same. The keys guard the API alone.
    """
    from babelclip.bundled import bundled_folder
    from babelclip.errors import ConfigError
    from babelclip.optional_dependency import needed_for

    with needed_for("the server", "server"):
        from babelclip.serve.access_log import write_to_stderr
        from babelclip.serve.images.fetch_image import FetchPolicy
        from babelclip.serve.run import Address, run_server
        from babelclip.serve.settings import ServerSettings
    in_cloud = mode != "api"
    image_options = images or ImageOptions()
    fetched = {**given(image_options, FETCH), "enabled": fetch_urls or bool(fetch_allow), "allow": fetch_allow}
    settings = ServerSettings(
        mode=mode,
        compute=(compute or ComputeOptions()).settings(),
        served_names=served_name,
        root_path=root_path,
        image_limits=replace(ServerSettings().image_limits, **given(image_options, IMAGE)),
        fetch=FetchPolicy(**fetched),
        cache=vector_cache,
        **given(contract or ContractOptions()),
        **given(limits or LimitOptions()),
    )
    if settings.keys_for and keys is None:
        raise ConfigError("--keys-for says what asks for a key too: give --keys FILE with it")
    address = Address(
        host=host or ("0.0.0.0" if in_cloud else "127.0.0.1"),
        port=port,
        keys=keys,
        open_to_all=no_keys,
        mode=mode,
        page=ui,
        page_without_keys=ui_without_keys,
        socket=socket,
        certificate=certificate,
        certificate_key=certificate_key,
    )
    write_to_stderr(log == "json")
    with ExitStack() as stack:
        page_settings = (page or PageOptions()).settings()
        mount = _page(stack, index, page_settings, address) if ui else None
        run_server(model or (_default_model(mode, bundled_folder()),), settings, address, mount)
    return 0


def _page(stack: ExitStack, index: str | None, settings: PageSettings, address: Address) -> MountApp:
    """What makes the page of an index beside the API.

    Raises:
        StoreError: there is no such index; said at once, not when the page is asked for.
    """
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url
    from babelclip.serve.app import MountedApp
    from babelclip.serve.inference.in_process_encoder import InProcessEncoder
    from babelclip.web.app import FIRST_SEGMENTS, make_page
    from babelclip.web.curl import Api

    url = index_url(index)
    Index.open(url, None).close()  # before the models are loaded; whether they fit is seen after that

    def made(encoder: InProcessEncoder) -> MountedApp:
        opened = stack.enter_context(Index.open(url, encoder))
        api = Api(url="", needs_key=address.keys is not None)
        page = make_page(
            opened, encoder, settings=settings, host=address.host, count_tokens=encoder.count_tokens, api=api
        )
        return MountedApp(page, FIRST_SEGMENTS, settings.own_names)

    return made


def _default_model(mode: Mode, bundled: Path) -> Path:
    """What the platform has put into the container, if anything."""
    if mode == "sagemaker" and SAGEMAKER_MODEL.is_dir() and any(SAGEMAKER_MODEL.iterdir()):
        return SAGEMAKER_MODEL
    return bundled
