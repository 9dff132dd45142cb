"""``/v1/tokens``: what a request would cost, before it is sent."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from babelclip.serve.embedding_service import EmbeddingRequest, FailedItem, PricingResult
from babelclip.serve.items import read_items
from babelclip.serve.pricing import PricedText
from babelclip.serve.responses import failed_entry, list_body, pricing_response
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.state import AppState


def router(state: AppState) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.post("/v1/tokens")
    async def tokens(request: Request, body: EmbeddingsRequest) -> Response:
        """The price of every item of a body that ``/v1/embeddings`` takes; no model runs, nothing is charged."""
        with state.admit(request) as client:
            asked = EmbeddingRequest(
                model=state.model(body.model),
                items=read_items(body.input, state.settings.item_limits, may_fail=True),
                task=body.task,
                truncate=body.truncate,
                on_error="item",
            )
            result = await state.service.price(asked)
            return pricing_response(client, result, _body(result), {})

    return routes


def _body(result: PricingResult) -> dict[str, Any]:
    data = [
        failed_entry(index, each)
        if isinstance(each, FailedItem)
        else {
            "object": "price",
            "index": index,
            "kind": "text" if isinstance(each, PricedText) else "image",
            "tokens": each.tokens,
        }
        for index, each in enumerate(result.results)
    ]
    return list_body(result.model, data, result.usage)
