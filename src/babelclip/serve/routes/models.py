"""Which models there are, and whether they are well."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.house import house_of
from babelclip.serve.items import ItemLimits
from babelclip.serve.metrics import CONTENT_TYPE
from babelclip.serve.served import Served

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The models by every name that they answer to."""
    house = house_of(request)
    cards = [_card(name, served, house.settings.item_limits) for name, served in house.models.items()]
    return json_answer({"object": "list", "data": cards})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """One model."""
    house = house_of(request)
    if name not in house.models:
        raise HTTPException(404, f"no model {name[:100]!r} is served here; there is {', '.join(sorted(house.models))}")
    return json_answer(_card(name, house.models[name], house.settings.item_limits))


@router.get("/live")
async def live() -> Response:
    """This process answers."""
    return json_answer({"status": "live"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """All models are loaded and warm."""
    missing = [served.description.name for served in house_of(request).distinct if not served.tower.is_ready]
    return json_answer({"status": "starting" if missing else "ready", "missing": missing}, 503 if missing else 200)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters and histograms, as Prometheus reads them."""
    return Response(house_of(request).kitchen.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/health")
async def health(request: Request) -> Response:
    """What runs each model answers, too."""
    house = house_of(request)
    state = {served.description.name: await served.tower.is_alive(2.0) for served in house.distinct}
    return json_answer(
        {"status": "healthy" if all(state.values()) else "unhealthy", "models": state},
        200 if all(state.values()) else 503,
    )


def _card(name: str, served: Served, limits: ItemLimits) -> dict[str, Any]:
    about = served.description
    return {
        "id": name,
        "object": "model",
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
