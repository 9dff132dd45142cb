"""The HTTP application: routes, errors and the door, put together around the models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.encoder import Encoder
from babelclip.serve.answers import error_answer, refusal_answer
from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.beside import Beside, Neighbour
from babelclip.serve.cache import VectorCache
from babelclip.serve.door import Door
from babelclip.serve.embeddings import Kitchen
from babelclip.serve.fetch_image import ImageFetcher
from babelclip.serve.gate import KeyGate, OpenGate
from babelclip.serve.house import House
from babelclip.serve.journal import Journal
from babelclip.serve.keys import KeyFile
from babelclip.serve.metrics import Metrics
from babelclip.serve.refusals import Refusal
from babelclip.serve.routes import classify, cohere, embeddings, models, sagemaker, tokens, voyage, weaviate
from babelclip.serve.schemas import ERRORS
from babelclip.serve.served import Served, serve_encoder
from babelclip.serve.settings import Mode, ServerSettings
from babelclip.version import __version__

APIS = (embeddings, tokens, classify, voyage, cohere, weaviate, models)
ROUTERS: dict[Mode, tuple[APIRouter, ...]] = {
    "api": tuple(kind.router for kind in APIS),
    "sagemaker": (sagemaker.router, models.router),
}


def make_app(encoder: Encoder, settings: ServerSettings | None = None, *, keys: KeyFile | None = None) -> FastAPI:
    """An application that serves an encoder of this process; to everybody where ``keys`` is None."""
    settings = settings or ServerSettings()
    served = serve_encoder(encoder, settings.image_limits)
    return application(dict.fromkeys((encoder.name, *settings.served_names), served), settings, keys)


def application(
    served_by_name: dict[str, Served],
    settings: ServerSettings,
    keys: KeyFile | None,
    metrics: Metrics | None = None,
    neighbour: Neighbour | None = None,
) -> FastAPI:
    """An application over models by name, and what runs beside it, behind the same door.

    Raises: ConfigError when the cache cannot be used.
    """
    threads = ThreadPoolExecutor(settings.decoding_threads, thread_name_prefix="prepare")
    metrics = metrics or Metrics()
    kitchen = Kitchen(ImageFetcher(settings.fetch), threads, metrics)
    house = House(settings, served_by_name, kitchen, OpenGate() if keys is None else KeyGate(keys))

    cache = None if settings.cache is None else VectorCache(settings.cache, settings.cache_bytes)
    for served in house.distinct:
        served.watch(metrics)
        if cache is not None:
            served.keep_vectors(cache, threads, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for served in house.distinct:
            served.start()
        yield
        for served in house.distinct:
            await served.close(settings.drain_seconds)
        threads.shutdown(wait=False, cancel_futures=True)
        if cache is not None:
            cache.close()

    app = FastAPI(title="babelclip", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.house, app.state.journal = house, Journal(metrics)
    for router in ROUTERS[settings.mode]:
        app.include_router(router, responses=ERRORS)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    if neighbour is not None:
        app.add_middleware(Beside, neighbour=neighbour)
    app.add_middleware(Door, journal=app.state.journal, settings=settings)
    return app


def _count(request: Request, code: str) -> None:
    journal: Journal = request.app.state.journal
    journal.refused(request.scope, code)


def _id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    _count(request, error.code)
    return refusal_answer(error, _id(request))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """What pydantic found, without what was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = [
        Wrong(".".join(str(part) for part in each["loc"][1:]) or "body", each["msg"], each["type"])
        for each in error.errors()[:20]
    ]
    _count(request, InvalidInput.code)
    return refusal_answer(InvalidInput(wrong), _id(request))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "REQUEST_INVALID")
    _count(request, code)
    return error_answer(error.status_code, code, str(error.detail), _id(request), headers=error.headers)
