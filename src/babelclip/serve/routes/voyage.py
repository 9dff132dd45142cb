"""``/v1/multimodalembeddings``: Voyage's shape. An input is a list of parts and gets one vector.

A part alone has its own vector. Of several, the vector is the mean of theirs, each of length one: texts and images lie
in one space here, so that is a point between them. Voyage's own model reads them together, which this one cannot.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.arrays import Vectors
from babelclip.data_uri import to_base64
from babelclip.serve.embedding_service import EmbeddingRequest, EmbeddingResult
from babelclip.serve.encoding_formats import read_dimensions, typed
from babelclip.serve.errors import FieldError, InvalidInput
from babelclip.serve.guarded_route import admitted_client, guarded_router
from babelclip.serve.items import Item, ItemLimits, ItemReader
from babelclip.serve.responses import embedding_response
from babelclip.serve.schemas import MODEL, Width
from babelclip.serve.state import AppState
from babelclip.vectors import finish

_EXAMPLE: dict[str, Any] = {
    "model": "babelclip-small",
    "inputs": [{"content": [{"type": "text", "text": "a bridge at dawn"}]}],
    "input_type": "query",
}
_TASKS = {"query": "retrieval.query", "document": "retrieval.passage"}


class Input(BaseModel):
    """One input: its parts."""

    model_config = ConfigDict(extra="allow")

    content: list[Any] = Field(min_length=1)


class VoyageRequest(BaseModel):
    """As ``voyageai`` sends it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    model: str | None = Field(None, max_length=500, description=MODEL)
    inputs: list[Input]
    input_type: Literal["query", "document"] | None = None
    truncation: bool = True
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None = None  # None: float
    output_dimension: Width = None
    encoding_format: Literal["base64"] | None = None
    output_encoding: Literal["base64"] | None = Field(None, description="The documented name of encoding_format.")


def router(state: AppState) -> APIRouter:
    """The route."""
    routes = guarded_router(state)

    @routes.post("/v1/multimodalembeddings")
    @routes.post("/multimodalembeddings", include_in_schema=False)
    async def multimodal(request: Request, body: VoyageRequest) -> Response:
        """One vector for every input."""
        client = admitted_client(request)
        model = state.model(body.model)
        dim = read_dimensions(body.output_dimension, model.description.dim, "output_dimension")
        ignored = state.ignored_fields(body)
        for each in body.inputs:
            ignored.add_extra(each, "inputs[].")
        reader = ItemReader(state.settings.item_limits, ignored)
        parts, owners = _parts(body, reader, state.settings.item_limits)
        task = _TASKS.get(body.input_type or "")
        ignored.add("input_type", when=model.ignores_task(task))
        asked = EmbeddingRequest(
            model=model,
            items=parts,
            task=task,
            truncate=body.truncation,
            field="inputs",
        )
        result = await state.service.embed(asked, client)
        return embedding_response(request, client, result, _body(result, body, owners, dim), ignored.headers())

    return routes


def _parts(body: VoyageRequest, reader: ItemReader, limits: ItemLimits) -> tuple[list[Item], NDArray[np.int64]]:
    """All parts of all inputs, and the index of the input that each belongs to."""
    parts: list[Item] = []
    owners: list[int] = []
    errors: list[FieldError] = []
    limits.check_some(sum(len(each.content) for each in body.inputs), "inputs")
    for index, each in enumerate(body.inputs):
        for number, part in enumerate(each.content):
            try:
                parts.append(reader.read(part, f"inputs[{index}].content[{number}]"))
                owners.append(index)
            except InvalidInput as error:
                errors += error.errors
    if errors:
        raise InvalidInput(errors)
    return parts, np.array(owners, np.int64)


def _body(result: EmbeddingResult, body: VoyageRequest, owners: NDArray[np.int64], dim: int | None) -> dict[str, Any]:
    raw = np.array(result.vectors, np.float32).reshape(-1, result.model.dim)
    vectors = [_fused(raw[owners == index], dim) for index in range(len(body.inputs))]
    usage = {
        "text_tokens": result.usage.text_tokens,
        "image_pixels": result.image_pixels,
        "video_pixels": 0,  # its client insists on the field
        "total_tokens": result.usage.total,
    }
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, body)}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": result.model.name, "usage": usage}


def _fused(raw: Vectors, dim: int | None) -> Vectors:
    """Raw vectors of the parts (P, E) -> one of length one (dim,)."""
    return finish(finish(raw).mean(axis=0, keepdims=True), dim)[0]


def _encoded(vector: Vectors, body: VoyageRequest) -> Any:
    values = typed(vector, body.output_dtype or "float")
    as_base64 = body.encoding_format is not None or body.output_encoding is not None
    return to_base64(values.tobytes()) if as_base64 else values.tolist()
