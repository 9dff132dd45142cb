"""``/v1/tokens``: what a request would cost, before it is sent."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from babelclip.serve.aliases import task_of
from babelclip.serve.embedding_service import EmbeddingRequest, FailedItem, PricingResult
from babelclip.serve.guarded_route import admitted_client, guarded_router
from babelclip.serve.items import ItemReader
from babelclip.serve.pricing import PricedText
from babelclip.serve.responses import failed_entry, list_body, pricing_response
from babelclip.serve.routes.embeddings import asked_task, asked_truncation
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.state import AppState

NO_PRICE = frozenset(EmbeddingsRequest.model_fields) - {
    "model",
    "input",
    "task",
    "input_type",
    "truncate",
    "truncation",
}
"""Fields that change vectors and no price."""


def router(state: AppState) -> APIRouter:
    """The route."""
    routes = guarded_router(state)

    @routes.post("/v1/tokens")
    async def tokens(request: Request, body: EmbeddingsRequest) -> Response:
        """The price of every item of a body that ``/v1/embeddings`` takes; no model runs, nothing is charged."""
        client = admitted_client(request)
        model = state.model(body.model)
        ignored = state.ignored_fields(body)
        items = ItemReader(state.settings.item_limits, ignored, may_fail=True).read_all(body.input)
        for name in NO_PRICE:
            ignored.add(name, when=getattr(body, name) != EmbeddingsRequest.model_fields[name].default)
        ignored.add("task", when=model.ignores_task(body.task))
        ignored.add("input_type", when=model.ignores_task(task_of(body.input_type)))
        asked = EmbeddingRequest(
            model=model,
            items=items,
            task=asked_task(body),
            truncate=asked_truncation(body, default=state.settings.truncate),
            on_error="item",
        )
        result = await state.service.price(asked)
        return pricing_response(client, result, _body(result), ignored.headers())

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
