"""The HTTP application: ``make_app`` and its routes. What a route does in detail stands in the files beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.encoder import Encoder
from babelclip.serve.answers import error_answer, json_answer, refusal_answer
from babelclip.serve.bad_requests import InvalidInput, UnknownModel, Wrong
from babelclip.serve.door import Door
from babelclip.serve.embeddings import Failed, Kitchen, first_failure, price_items, usage_of, vectors_of
from babelclip.serve.fetch_image import ImageFetcher
from babelclip.serve.forms import formed, read_dimensions, read_forms
from babelclip.serve.gate import Gate, Guest, KeyGate, OpenGate
from babelclip.serve.items import read_items
from babelclip.serve.keys import KeyFile
from babelclip.serve.refusals import Refusal
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.served import Served, serve_encoder
from babelclip.serve.settings import ServerSettings
from babelclip.version import __version__

OnError = Literal["fail", "item"]
router = APIRouter()


@dataclass(slots=True)
class House:
    """What the routes share: the models by every name they answer to."""

    settings: ServerSettings
    models: dict[str, Served]
    kitchen: Kitchen
    gate: Gate

    def served(self, name: str) -> Served:
        """The model of a name. Raises: UnknownModel that lists what is served."""
        if name not in self.models:
            known = ", ".join(sorted(self.models))
            raise UnknownModel(f"no model {name[:100]!r} is served here; there is {known}")
        return self.models[name]

    @property
    def distinct(self) -> list[Served]:
        """Every model once."""
        return list({id(served): served for served in self.models.values()}.values())


def make_app(encoder: Encoder, settings: ServerSettings | None = None, *, keys: KeyFile | None = None) -> FastAPI:
    """An application that serves an encoder of this process; to everybody where ``keys`` is None."""
    settings = settings or ServerSettings()
    served = serve_encoder(encoder, settings.image_limits)
    return application(dict.fromkeys((encoder.name, *settings.served_names), served), settings, keys)


def application(models: dict[str, Served], settings: ServerSettings, keys: KeyFile | None) -> FastAPI:
    """An application over models by name."""
    threads = ThreadPoolExecutor(settings.decoding_threads, thread_name_prefix="prepare")
    kitchen = Kitchen(ImageFetcher(settings.fetch), threads, settings.max_items)
    house = House(settings, models, kitchen, OpenGate() if keys is None else KeyGate(keys))

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
    app.include_router(router)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_failure)
    app.add_middleware(partial(Door, max_body_bytes=settings.max_body_bytes))
    return app


@router.post("/v1/embeddings")
@router.post("/embeddings", include_in_schema=False)
@router.post("/v1/embeddings/embeddings", include_in_schema=False)  # what a client makes of a whole URL as its base
async def embeddings(request: Request, body: EmbeddingsRequest, on_error: OnError = "fail") -> Response:
    """Vectors of texts and images, in the order given."""
    house: House = request.app.state.house
    with house.gate.enter(request.headers.get("authorization")) as guest:
        return await _embed(house, guest, body, on_error)


async def _embed(house: House, guest: Guest, body: EmbeddingsRequest, on_error: OnError) -> Response:
    served = house.served(body.model)
    forms, is_lone = read_forms(body.embedding_type, body.encoding_type, body.encoding_format)
    dim = read_dimensions(body.dimensions, served.description.dim) or _default_dim(guest, served)
    ignored = _ignored_fields(body, house.settings)
    items, _ = read_items(body.input, house.settings.image_limits.max_bytes)
    priced = await price_items(served, items, house.kitchen, task=body.task, truncate=body.truncate)
    if on_error == "fail":
        first_failure(priced)
    guest.reserve(usage_of(priced))
    found = await vectors_of(served, priced)
    if on_error == "fail":
        first_failure(found)
    write = partial(formed, forms=forms, is_lone=is_lone, dim=dim, normalize=body.normalized)
    data = [
        {"object": "error", "index": place, "code": each.code, "detail": each.message}
        if isinstance(each, Failed)
        else {"object": "embedding", "index": place, "embedding": write(each)}
        for place, each in enumerate(found)
    ]
    usage = usage_of([was if not isinstance(now, Failed) else now for was, now in zip(priced, found, strict=True)])
    await guest.settle(usage)
    counted = {"total_tokens": usage.total, "prompt_tokens": usage.total, "image_tokens": usage.image_tokens}
    answer = {"model": served.description.name, "object": "list", "usage": counted, "data": data}
    return json_answer(answer, headers=_model_headers(served) | ignored | guest.headers())


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The models by every name that they answer to."""
    house: House = request.app.state.house
    return json_answer({"object": "list", "data": [_card(name, served) for name, served in house.models.items()]})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """One model."""
    house: House = request.app.state.house
    if name not in house.models:
        raise HTTPException(404, f"no model {name[:100]!r} is served here; there is {', '.join(sorted(house.models))}")
    return json_answer(_card(name, house.models[name]))


@router.get("/live")
async def live() -> Response:
    """This process answers."""
    return json_answer({"status": "live"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """All models are loaded and warm."""
    missing = [served.description.name for served in request.app.state.house.distinct if not served.tower.is_ready]
    return json_answer({"status": "starting" if missing else "ready", "missing": missing}, 503 if missing else 200)


@router.get("/health")
async def health(request: Request) -> Response:
    """What runs each model answers, too."""
    house: House = request.app.state.house
    state = {served.description.name: await served.tower.is_alive(2.0) for served in house.distinct}
    return json_answer(
        {"status": "healthy" if all(state.values()) else "unhealthy", "models": state},
        200 if all(state.values()) else 503,
    )


def _default_dim(guest: Guest, served: Served) -> int | None:
    """The key's, for models that are as wide: one key may be used for several."""
    dim = guest.default_dim
    return dim if dim is not None and dim <= served.description.dim else None


def _ignored_fields(body: EmbeddingsRequest, settings: ServerSettings) -> dict[str, str]:
    """A header that names what was sent and means nothing here. Raises: InvalidInput where that is not to pass."""
    if body.late_chunking:
        raise InvalidInput([Wrong("late_chunking", "this model has no late chunking; send false or leave it out")])
    unknown = sorted(name for name in body.model_extra or {} if name.isascii() and name.isprintable())[:20]
    if unknown and settings.strict_fields:
        raise InvalidInput([Wrong(name[:80], "unknown field", "extra_forbidden") for name in unknown])
    return {"X-Ignored-Fields": ", ".join(name[:80] for name in unknown)} if unknown else {}


def _model_headers(served: Served) -> dict[str, str]:
    facts = served.description.facts
    named = {"X-Model": served.description.name, "X-Model-Revision": facts.get("fingerprint")}
    return {name: str(value) for name, value in named.items() if value is not None}


def _card(name: str, served: Served) -> dict[str, Any]:
    about = served.description
    return {
        "id": name,
        "object": "model",
        "owned_by": "babelclip",
        "runs": about.name,
        "dimensions": about.dim,
        "matryoshka": list(about.dims),
        "max_tokens": about.max_tokens,
        "modalities": ["text"] if about.image_size is None else ["text", "image"],
        "tasks": list(about.tasks),
        "facts": about.facts,
    }


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
