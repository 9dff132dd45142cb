"""``/v2/embed``: Cohere's shape. Embeddings come by type, each a list in the order of what was sent."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.embeddings import embed
from babelclip.serve.forms import formed, read_dimensions, read_forms
from babelclip.serve.house import house_of
from babelclip.serve.items import Item, ItemLimits, TextItem, read_items

router = APIRouter()
EXAMPLE: dict[str, Any] = {"model": "babelclip-small", "texts": ["a bridge at dawn"], "input_type": "search_query"}
TASKS = {
    "search_query": "retrieval.query",
    "search_document": "retrieval.passage",
    "classification": "classification",
    "clustering": "separation",
}


class CohereRequest(BaseModel):
    """As ``cohere`` sends it: texts, images (data URIs), or inputs of one part each."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(max_length=500)
    input_type: str | None = None
    texts: list[str] | None = None
    images: list[Any] | None = None
    inputs: list[Any] | None = None
    embedding_types: list[str] | None = None
    output_dimension: int | None = None
    truncate: Literal["NONE", "START", "END"] = "END"


@router.post("/v2/embed")
async def embed_by_type(request: Request, body: CohereRequest) -> Response:
    """Embeddings of texts or images."""
    house = house_of(request)
    with house.enter(request) as guest:
        served = house.served(body.model)
        forms, _ = read_forms(body.embedding_types or ["float"], None, None)
        dim = read_dimensions(body.output_dimension, served.description.dim, "output_dimension")
        items, field = _items(body, house.settings.item_limits)
        if body.truncate == "START":
            raise InvalidInput([Wrong("truncate", "texts are cut at their end here; send END or NONE")])
        embedded = await embed(
            served,
            items,
            house.kitchen,
            guest,
            task=TASKS.get(body.input_type or ""),
            truncate=body.truncate == "END",
            field=field,
        )
        rows = [formed(raw, forms, is_lone=False, dim=dim, normalize=True) for raw in embedded.vectors]
        answer = {
            "id": str(uuid.uuid4()),
            "response_type": "embeddings_by_type",
            "embeddings": {form: [row[form] for row in rows] for form in forms},
            "texts": [item.text for item in items if isinstance(item, TextItem)],
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {
                    "input_tokens": embedded.usage.text_tokens,
                    "image_tokens": embedded.usage.image_tokens,
                },
            },
        }
        return json_answer(answer, headers=house.headers(request, served, guest, embedded))


def _items(body: CohereRequest, limits: ItemLimits) -> tuple[list[Item], str]:
    """The items of the one list that was sent, and its name."""
    given = [name for name in ("texts", "images", "inputs") if getattr(body, name) is not None]
    if len(given) != 1:
        found = ", ".join(given) or "none"
        raise InvalidInput([Wrong("texts", f"expected one of texts, images and inputs, found {found}")])
    name = given[0]
    values = getattr(body, name)
    if name == "texts":
        limits.check_number(len(values), name)
        return [TextItem(text) for text in values], name
    if name == "images":
        values = [{"image": image} for image in values]
    return read_items(values, limits, name)[0], name
