"""Which models there are, and whether they are well."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.serve.inference.served_model import ModelDescription
from babelclip.serve.items import ItemLimits
from babelclip.serve.metrics import CONTENT_TYPE
from babelclip.serve.responses import json_response
from babelclip.serve.state import AppState

ALIVE_SECONDS = 2.0
"""In which what runs a model answers; a model that works does not keep it from that."""


def router(state: AppState) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    limits = state.settings.item_limits
    created = int(time.time())

    @routes.get("/v1/models")
    async def models() -> Response:
        """The models by every name that they answer to."""
        cards = [_card(name, model.description, limits, created) for name, model in state.models.items()]
        return json_response({"object": "list", "data": cards})

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """One model."""
        if name not in state.models:
            raise HTTPException(404, state.not_served(name))
        return json_response(_card(name, state.models[name].description, limits, created))

    @routes.get("/live")
    async def live() -> Response:
        """This process answers."""
        return json_response({"status": "live"})

    @routes.get("/ready")
    async def ready() -> Response:
        """All models are loaded and warm."""
        missing = [model.description.name for model in state.distinct_models if not model.backend.is_ready]
        status = 503 if missing else 200
        return json_response({"status": "starting" if missing else "ready", "missing": missing}, status)

    @routes.get("/metrics")
    async def metrics() -> Response:
        """Counters and histograms, as Prometheus reads them."""
        return Response(state.metrics.text(), media_type=CONTENT_TYPE)

    @routes.get("/health")
    async def health() -> Response:
        """Every model does its work: what runs it answers, and nothing that it was asked is overdue."""
        names = [model.description.name for model in state.distinct_models]
        found = await asyncio.gather(*(model.backend.is_alive(ALIVE_SECONDS) for model in state.distinct_models))
        alive = dict(zip(names, found, strict=True))
        well = all(found)
        return json_response({"status": "healthy" if well else "unhealthy", "models": alive}, 200 if well else 503)

    return routes


def _card(name: str, about: ModelDescription, limits: ItemLimits, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "babelclip",
        "runs": about.name,
        "dimensions": about.dim,
        "matryoshka": list(about.dims),
        "max_tokens": about.max_tokens,
        "modalities": ["text"] if about.image_size is None else ["text", "image"],
        "tasks": list(about.tasks),
        "image_prepare": None if about.image_prepare is None else asdict(about.image_prepare),
        "logit_scale": about.logit_scale,
        "max_items": limits.max_items,
        "max_image_bytes": limits.max_image_bytes,
        "facts": about.facts,
    }
