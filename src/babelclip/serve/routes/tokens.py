"""``/v1/tokens``: what a request would cost, before it is sent."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.embeddings import Failed, price_items, usage_of
from babelclip.serve.house import house_of, model_headers
from babelclip.serve.items import read_items
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.served import PricedText

router = APIRouter()


@router.post("/v1/tokens")
async def tokens(request: Request, body: EmbeddingsRequest) -> Response:
    """The price of every item of the same body that ``/v1/embeddings`` takes; no model runs and nothing is charged."""
    house = house_of(request)
    with house.enter(request) as guest:
        served = house.served(body.model)
        items, _ = read_items(body.input, house.settings.image_limits.max_bytes)
        priced = await price_items(served, items, house.kitchen, task=body.task, truncate=body.truncate)
        usage = usage_of(priced)
        data = [
            {"object": "error", "index": place, "code": each.code, "detail": each.message}
            if isinstance(each, Failed)
            else {
                "object": "price",
                "index": place,
                "kind": "text" if isinstance(each, PricedText) else "image",
                "tokens": each.tokens,
            }
            for place, each in enumerate(priced)
        ]
        counted = {"total_tokens": usage.total, "prompt_tokens": usage.total, "image_tokens": usage.image_tokens}
        answer = {"model": served.description.name, "object": "list", "usage": counted, "data": data}
        return json_answer(answer, headers=model_headers(served) | guest.headers())
