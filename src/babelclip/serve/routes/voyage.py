"""``/v1/multimodalembeddings``: Voyage's shape. An input is a list of parts and gets one vector.

A part alone has its own vector. Of several, the vector is the mean of theirs, each of length one: texts and images lie
in one space here, so that is a point between them. Voyage's own model reads them together, which this one cannot.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.arrays import Vectors
from babelclip.data_uri import to_base64
from babelclip.serve.answers import json_answer
from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.embeddings import embed
from babelclip.serve.forms import read_dimensions
from babelclip.serve.house import house_of
from babelclip.serve.items import Item, ItemLimits, read_item
from babelclip.vectors import finish, quantize

router = APIRouter()
EXAMPLE: dict[str, Any] = {
    "model": "babelclip-small",
    "inputs": [{"content": [{"type": "text", "text": "a bridge at dawn"}]}],
    "input_type": "query",
}
TASKS = {"query": "retrieval.query", "document": "retrieval.passage"}


class Input(BaseModel):
    """One input: its parts."""

    content: list[Any] = Field(min_length=1)


class VoyageRequest(BaseModel):
    """As ``voyageai`` sends it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(max_length=500)
    inputs: list[Input]
    input_type: Literal["query", "document"] | None = None
    truncation: bool = True
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None = None  # None: float
    output_dimension: int | None = None
    encoding_format: Literal["base64"] | None = None
    output_encoding: Literal["base64"] | None = Field(None, description="The documented name of encoding_format.")


@router.post("/v1/multimodalembeddings")
@router.post("/multimodalembeddings", include_in_schema=False)
async def multimodal(request: Request, body: VoyageRequest) -> Response:
    """One vector for every input."""
    house = house_of(request)
    with house.enter(request) as guest:
        served = house.served(body.model)
        dim = read_dimensions(body.output_dimension, served.description.dim, "output_dimension")
        parts, owners = _parts(body, house.settings.item_limits)
        task = TASKS.get(body.input_type or "")
        embedded = await embed(served, parts, house.kitchen, guest, task=task, truncate=body.truncation, field="inputs")
        raw = np.array(embedded.vectors, np.float32).reshape(-1, served.description.dim)
        packed = body.encoding_format is not None or body.output_encoding is not None
        fused = [_fused(raw[owners == place], dim) for place in range(len(body.inputs))]
        data = [
            {"object": "embedding", "index": place, "embedding": _written(vector, body, packed)}
            for place, vector in enumerate(fused)
        ]
        usage = embedded.usage
        counted = {
            "text_tokens": usage.text_tokens,
            "image_pixels": embedded.image_pixels,
            "video_pixels": 0,  # its client insists on the field
            "total_tokens": usage.total,
        }
        answer = {"object": "list", "data": data, "model": served.description.name, "usage": counted}
        return json_answer(answer, headers=house.headers(request, served, guest, embedded))


def _parts(body: VoyageRequest, limits: ItemLimits) -> tuple[list[Item], np.ndarray[Any, np.dtype[np.int64]]]:
    """All parts of all inputs, and the input of each."""
    parts: list[Item] = []
    owners: list[int] = []
    wrong: list[Wrong] = []
    limits.check_number(sum(len(each.content) for each in body.inputs), "inputs")
    for place, each in enumerate(body.inputs):
        for number, part in enumerate(each.content):
            try:
                parts.append(read_item(part, limits.max_image_bytes, f"inputs[{place}].content[{number}]"))
                owners.append(place)
            except InvalidInput as error:
                wrong += error.wrong
    if wrong:
        raise InvalidInput(wrong)
    return parts, np.array(owners, np.int64)


def _fused(raw: Vectors, dim: int | None) -> Vectors:
    """Raw vectors of the parts (P, E) -> one of length one (dim,)."""
    return finish(finish(raw).mean(axis=0, keepdims=True), dim)[0]


def _written(vector: Vectors, body: VoyageRequest, packed: bool) -> Any:
    dtype = body.output_dtype
    values = vector.astype("<f4") if dtype is None or dtype == "float" else quantize(vector, dtype)
    return to_base64(values.tobytes()) if packed else values.tolist()
