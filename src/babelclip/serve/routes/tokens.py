"""``/v1/tokens``: what a request would cost, before it is sent."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from babelclip.serve.embeddings import Failed, price_items, usage_of
from babelclip.serve.house import failed_entry, house_of, list_answer, model_headers
from babelclip.serve.items import read_items
from babelclip.serve.priced import PricedText
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.stopwatch import Stopwatch

router = APIRouter()


@router.post("/v1/tokens")
async def tokens(request: Request, body: EmbeddingsRequest) -> Response:
    """The price of every item of the same body that ``/v1/embeddings`` takes; no model runs and nothing is charged."""
    house = house_of(request)
    with house.enter(request) as guest:
        served = house.served(body.model)
        items, _ = read_items(body.input, house.settings.item_limits, may_fail=True)
        watch = Stopwatch()
        priced = await price_items(served, items, house.kitchen, watch, task=body.task, truncate=body.truncate)
        data = [
            failed_entry(place, each)
            if isinstance(each, Failed)
            else {
                "object": "price",
                "index": place,
                "kind": "text" if isinstance(each, PricedText) else "image",
                "tokens": each.tokens,
            }
            for place, each in enumerate(priced)
        ]
        headers = model_headers(served) | watch.header() | guest.headers()
        return list_answer(served, data, usage_of(priced), headers)
