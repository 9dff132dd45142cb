"""The HTTP application: routes, errors and request limits, put together around the models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from babelclip.encoder import Encoder
from babelclip.serve.access.authenticator import ApiKeyAuth, Authenticator, NoAuth
from babelclip.serve.access.guarded_paths import GuardedPaths
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.access.waiting_lines import WaitingLineLimits
from babelclip.serve.access.web_pages import RefuseForeignPages
from babelclip.serve.access_log import AccessLog
from babelclip.serve.body_budget import BodyBudget
from babelclip.serve.embedding_service import EmbeddingService
from babelclip.serve.error_responses import exception_handlers
from babelclip.serve.guarded_route import posting_paths
from babelclip.serve.http_methods import HttpMethods
from babelclip.serve.images.fetched_images import fetched_images
from babelclip.serve.inference.in_process_encoder import InProcessEncoder
from babelclip.serve.inference.served_model import ServedModel, serve_encoder
from babelclip.serve.inference.vector_cache import VectorCache
from babelclip.serve.metrics import Metrics
from babelclip.serve.request_limits import RequestLimits
from babelclip.serve.routes import classify, cohere, embeddings, models, sagemaker, tokens, voyage, weaviate
from babelclip.serve.schemas import ERRORS
from babelclip.serve.settings import Mode, ServerSettings
from babelclip.serve.state import AppState
from babelclip.serve.sub_path import SubPath, check_no_path_of_its_own, path_below
from babelclip.version import __version__

_CLOSE_SECONDS = 0.2
ROUTERS: dict[Mode, tuple[Callable[[AppState], APIRouter], ...]] = {
    "api": tuple(kind.router for kind in (embeddings, tokens, classify, voyage, cohere, weaviate, models)),
    "sagemaker": (sagemaker.router, models.router),
}
EXPOSED_HEADERS = (
    "Retry-After", "Server-Timing", "X-Compute-Dtype", "X-Ignored-Fields", "X-Model", "X-Model-Revision",
    "X-Request-Id", "X-RateLimit-Remaining-Requests", "X-RateLimit-Remaining-Tokens", "X-Warning",
)  # fmt: skip
"""What a page of an allowed origin may read of an answer beside its body."""


@dataclass(frozen=True, slots=True)
class MountedApp:
    """Another application in the same server, and which paths are its own."""

    app: ASGIApp
    first_segments: frozenset[str]  # of its paths: "" is /, "static" all of /static/...
    names: frozenset[str] = frozenset()  # by which it is reached, beside this machine's own


MountApp = Callable[[InProcessEncoder], MountedApp]
"""Makes one around the first model, once that is there."""


def make_app(encoder: Encoder, settings: ServerSettings | None = None, *, keys: KeyFile | None = None) -> FastAPI:
    """An application that serves an encoder of this process; to everybody where ``keys`` is None."""
    settings = settings or ServerSettings()
    model = serve_encoder(encoder, settings.image_limits)
    models = dict.fromkeys((encoder.name, *settings.served_names), model)
    return application(models, settings, authenticator_for(keys, settings))


def authenticator_for(keys: KeyFile | None, settings: ServerSettings) -> Authenticator:
    """Who admits requests: the keys of a file, or nobody."""
    if keys is None:
        return NoAuth()
    return ApiKeyAuth(keys, limits=WaitingLineLimits(max_waiting=settings.max_waiting, seconds=settings.wait_seconds))


def application(
    served: dict[str, ServedModel],
    settings: ServerSettings,
    authenticator: Authenticator,
    metrics: Metrics | None = None,
    mounted: MountedApp | None = None,
) -> FastAPI:
    """An application over models by name, and what is mounted beside it, behind the same request limits.

    Raises:
        ConfigError: the cache cannot be used.
    """
    threads = ThreadPoolExecutor(settings.decoding_threads, thread_name_prefix="prepare")
    metrics = metrics or Metrics()
    budget = BodyBudget(settings.max_held_bytes)
    state = AppState(
        settings=settings,
        models=served,
        service=EmbeddingService(fetched_images(settings, budget, metrics), threads, metrics),
        authenticator=authenticator,
        metrics=metrics,
    )
    cache = None if settings.cache is None else VectorCache(settings.cache, settings.cache_bytes)
    for model in state.distinct_models:
        model.watch(metrics)
        if cache is not None:
            model.use_cache(cache, threads, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for model in state.distinct_models:
            model.start()
        yield
        for model in state.distinct_models:
            await model.close(_CLOSE_SECONDS)  # requests have ended before this: what still runs, nobody waits for
        threads.shutdown(wait=False, cancel_futures=True)
        if cache is not None:
            cache.close()

    access_log = AccessLog(metrics)
    routers = [router(state) for router in ROUTERS[settings.mode]]
    app = FastAPI(
        title="babelclip",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        strict_content_type=False,  # a body without a content type is JSON; pages elsewhere are refused by their Origin
        exception_handlers=exception_handlers(access_log, posting_paths(routers)),
    )
    for router in routers:
        app.include_router(router, responses=ERRORS)
    app.add_middleware(HttpMethods, routes=app.router.routes)
    if settings.keys_for:
        app.add_middleware(GuardedPaths, kinds=settings.keys_for, admit=state.admit, access_log=access_log)
    if settings.mode == "api" and isinstance(authenticator, NoAuth):
        own = frozenset[str]() if mounted is None else mounted.names
        app.add_middleware(RefuseForeignPages, access_log=access_log, allowed=settings.cors_origins, own_names=own)
    if mounted is not None:
        app.add_middleware(PathDispatch, mounted=mounted)
    app.add_middleware(RequestLimits, access_log=access_log, settings=settings, budget=budget)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),  # those that a page asks for
            expose_headers=EXPOSED_HEADERS,
        )
    if settings.root_path:
        taken = {first_segment(getattr(route, "path", "")) for router in routers for route in router.routes}
        check_no_path_of_its_own(settings.root_path, taken if mounted is None else taken | mounted.first_segments)
        app.add_middleware(SubPath, path=settings.root_path, has_page=mounted is not None)
    return app


class PathDispatch:
    """Middleware that leads requests to the application whose path they name."""

    def __init__(self, app: ASGIApp, mounted: MountedApp) -> None:
        self._app, self._mounted = app, mounted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_mounted = scope["type"] == "http" and first_segment(path_below(scope)) in self._mounted.first_segments
        await (self._mounted.app if is_mounted else self._app)(scope, receive, send)


def first_segment(path: str) -> str:
    """``static`` of ``/static/page.css``."""
    return path.removeprefix("/").partition("/")[0]
