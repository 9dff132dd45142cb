"""Weaviate's container ``multi2vec-clip``: what its module of that name asks of an inference server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.serve.embedding_service import EmbeddingRequest, EmbeddingResult
from babelclip.serve.encoding_formats import Encoding
from babelclip.serve.guarded_route import admitted_client, guarded_router
from babelclip.serve.items import Item, ItemLimits, ItemReader, TextItem
from babelclip.serve.responses import embedding_response, json_response
from babelclip.serve.routes.embeddings import default_dim
from babelclip.serve.state import AppState
from babelclip.version import __version__


class VectorizeRequest(BaseModel):
    """Texts, and images in base64."""

    model_config = ConfigDict(extra="allow")

    texts: list[str] = Field(default_factory=list)
    images: list[str] = Field(default_factory=list)


def router(state: AppState) -> APIRouter:
    """The routes."""
    routes = guarded_router(state)

    @routes.post("/vectorize")
    async def vectorize(request: Request, body: VectorizeRequest) -> Response:
        """Vectors of both lists, by the first model that is served: Weaviate names none."""
        client = admitted_client(request)
        model = state.first_model
        ignored = state.ignored_fields(body)
        reader = ItemReader(state.settings.item_limits, ignored)
        items = _items(body, reader, state.settings.item_limits)
        result = await state.service.embed(EmbeddingRequest(model=model, items=items, truncate=True), client)
        encoding = Encoding(dim=default_dim(client, model.description))
        content = _body(result, len(body.texts), encoding)
        return embedding_response(request, client, result, content, ignored.headers())

    @routes.get("/meta")
    async def meta() -> Response:
        """What the module shows about the model."""
        model = state.first_model.description
        return json_response({"version": __version__, "model": model.name, "facts": model.facts})

    @routes.get("/.well-known/live", status_code=204)
    async def is_live() -> Response:
        """This process answers."""
        return Response(status_code=204)

    @routes.get("/.well-known/ready", status_code=204)
    async def is_ready() -> Response:
        """All models are loaded and warm."""
        ready = all(model.backend.is_ready for model in state.distinct_models)
        return Response(status_code=204 if ready else 503)

    return routes


def _items(body: VectorizeRequest, reader: ItemReader, limits: ItemLimits) -> list[Item]:
    images = reader.read_all([{"image": image} for image in body.images], "images") if body.images else []
    items: list[Item] = [*map(TextItem, body.texts), *images]
    limits.check_number(len(items), "texts and images")
    return items


def _body(result: EmbeddingResult, texts: int, encoding: Encoding) -> dict[str, Any]:
    rows = [encoding.encode(raw) for raw in result.vectors]
    return {"textVectors": rows[:texts], "imageVectors": rows[texts:], "error": ""}
