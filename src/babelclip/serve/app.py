"""The HTTP application: routes, errors and the door, put together around the models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.encoder import Encoder
from babelclip.serve.answers import error_answer, refusal_answer
from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.door import Door
from babelclip.serve.embeddings import Kitchen
from babelclip.serve.fetch_image import ImageFetcher
from babelclip.serve.gate import KeyGate, OpenGate
from babelclip.serve.house import House
from babelclip.serve.keys import KeyFile
from babelclip.serve.refusals import Refusal
from babelclip.serve.routes import classify, cohere, embeddings, models, tokens, voyage, weaviate
from babelclip.serve.served import Served, serve_encoder
from babelclip.serve.settings import ServerSettings
from babelclip.version import __version__

ROUTERS = tuple(kind.router for kind in (embeddings, tokens, classify, voyage, cohere, weaviate, models))


def make_app(encoder: Encoder, settings: ServerSettings | None = None, *, keys: KeyFile | None = None) -> FastAPI:
    """An application that serves an encoder of this process; to everybody where ``keys`` is None."""
    settings = settings or ServerSettings()
    served = serve_encoder(encoder, settings.image_limits)
    return application(dict.fromkeys((encoder.name, *settings.served_names), served), settings, keys)


def application(served_by_name: dict[str, Served], settings: ServerSettings, keys: KeyFile | None) -> FastAPI:
    """An application over models by name."""
    threads = ThreadPoolExecutor(settings.decoding_threads, thread_name_prefix="prepare")
    kitchen = Kitchen(ImageFetcher(settings.fetch), threads, settings.max_items)
    house = House(settings, served_by_name, kitchen, OpenGate() if keys is None else KeyGate(keys))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for served in house.distinct:
            served.start()
        yield
        for served in house.distinct:
            await served.close(settings.drain_seconds)
        threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="babelclip", version=__version__, lifespan=lifespan)
    app.state.house = house
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)
    app.add_middleware(partial(Door, max_body_bytes=settings.max_body_bytes))
    return app


def _id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refusal_answer(error, _id(request))


async def _on_invalid(request: Request, error: Exception) -> Response:
    """What pydantic found, without what was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = [
        Wrong(".".join(str(part) for part in each["loc"][1:]) or "body", each["msg"], each["type"])
        for each in error.errors()[:20]
    ]
    return refusal_answer(InvalidInput(wrong), _id(request))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "REQUEST_INVALID")
    return error_answer(error.status_code, code, str(error.detail), _id(request), headers=error.headers)


async def _on_failure(request: Request, error: Exception) -> Response:
    """What was not foreseen: the log has it, the client only its id."""
    return error_answer(500, "INTERNAL_ERROR", "the server failed; its log knows more under this id", _id(request))
