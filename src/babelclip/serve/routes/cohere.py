"""``/v2/embed``: Cohere's shape. Embeddings come by type, each a list in the order of what was sent.

Its older client, and what is built on that, posts the same to ``/v1/embed`` and expects a plain list unless it asked
for types.
"""

from __future__ import annotations

import uuid
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.serve.embedding_service import EmbeddingRequest, EmbeddingResult
from babelclip.serve.encoding_formats import Encoding, read_dimensions, read_formats
from babelclip.serve.errors import FieldError, InvalidInput
from babelclip.serve.guarded_route import admitted_client, guarded_router
from babelclip.serve.items import Item, ItemLimits, ItemReader, TextItem
from babelclip.serve.responses import embedding_response
from babelclip.serve.schemas import MODEL, Width
from babelclip.serve.state import AppState

_EXAMPLE: dict[str, Any] = {"model": "babelclip-small", "texts": ["a bridge at dawn"], "input_type": "search_query"}
_TASKS = {
    "search_query": "retrieval.query",
    "search_document": "retrieval.passage",
    "classification": "classification",
    "clustering": "separation",
}


class CohereRequest(BaseModel):
    """As ``cohere`` sends it: texts, images (data URIs), or inputs of one part each."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    model: str | None = Field(None, max_length=500, description=MODEL)
    input_type: str | None = None
    texts: list[str] | None = None
    images: list[Any] | None = None
    inputs: list[Any] | None = None
    embedding_types: list[str] | None = None
    output_dimension: Width = None
    truncate: Literal["NONE", "START", "END"] = "END"
    max_tokens: int | None = Field(None, description="Not taken: texts are cut at the model's limit.")
    priority: int | None = Field(None, description="Ignored, as X-Ignored-Fields says.")


def router(state: AppState) -> APIRouter:
    """The route."""
    routes = guarded_router(state)

    @routes.post("/v2/embed")
    async def embed_by_type(request: Request, body: CohereRequest) -> Response:
        """Embeddings of texts or images."""
        return await answer(request, body, is_old=False)

    @routes.post("/v1/embed")
    async def embed(request: Request, body: CohereRequest) -> Response:
        """The same for version 1: a list of vectors, or by type where types are named."""
        return await answer(request, body, is_old=True)

    async def answer(request: Request, body: CohereRequest, *, is_old: bool) -> Response:
        client = admitted_client(request)
        model = state.model(body.model)
        formats, _ = read_formats(body.embedding_types or ["float"])
        dim = read_dimensions(body.output_dimension, model.description.dim, "output_dimension")
        ignored = state.ignored_fields(body)
        ignored.add("priority", when=body.priority is not None)
        reader = ItemReader(state.settings.item_limits, ignored)
        items, field = _items(body, reader, state.settings.item_limits)
        task = _TASKS.get(body.input_type or "")
        ignored.add("input_type", when=body.input_type is not None and (task is None or model.ignores_task(task)))
        asked = EmbeddingRequest(
            model=model,
            items=items,
            task=task,
            truncate=_truncates(body),
            field=field,
        )
        result = await state.service.embed(asked, client)
        encoding = Encoding(formats=formats, by_format=True, dim=dim)
        content = _body(result, items, encoding)
        if is_old:
            content["meta"]["api_version"] = {"version": "1"}
        if is_old and body.embedding_types is None:
            content |= {"response_type": "embeddings_floats", "embeddings": content["embeddings"]["float"]}
        return embedding_response(request, client, result, content, ignored.headers())

    return routes


def _items(body: CohereRequest, reader: ItemReader, limits: ItemLimits) -> tuple[list[Item], str]:
    """The items of the one list that was sent, and its name."""
    given = [name for name in ("texts", "images", "inputs") if getattr(body, name) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        raise InvalidInput([FieldError("texts", f"expected one of texts, images and inputs, found {found}")])
    name = given[0]
    values = getattr(body, name)
    if name == "texts":
        limits.check_some(len(values), name)
        return [TextItem(text) for text in values], name
    if name == "images":
        values = [{"image": image} for image in values]
    return reader.read_all(values, name), name


def _truncates(body: CohereRequest) -> bool:
    if body.max_tokens is not None:
        message = "texts are cut at the model's limit and nowhere else; leave it out"
        raise InvalidInput([FieldError("max_tokens", message)])
    if body.truncate == "START":
        raise InvalidInput([FieldError("truncate", "texts are cut at their end here; send END or NONE")])
    return body.truncate == "END"


def _body(result: EmbeddingResult, items: list[Item], encoding: Encoding) -> dict[str, Any]:
    rows = [encoding.encode(raw) for raw in result.vectors]
    return {
        "id": str(uuid.uuid4()),
        "response_type": "embeddings_by_type",
        "embeddings": {name: [row[name] for row in rows] for name in encoding.formats},
        "texts": [item.text for item in items if isinstance(item, TextItem)],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {
                "input_tokens": result.usage.text_tokens,
                "image_tokens": result.usage.image_tokens,
            },
        },
    }
