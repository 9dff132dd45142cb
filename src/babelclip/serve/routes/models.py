"""Which models there are, and whether they are well."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.house import house_of
from babelclip.serve.served import Served

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The models by every name that they answer to."""
    house = house_of(request)
    return json_answer({"object": "list", "data": [_card(name, served) for name, served in house.models.items()]})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """One model."""
    house = house_of(request)
    if name not in house.models:
        raise HTTPException(404, f"no model {name[:100]!r} is served here; there is {', '.join(sorted(house.models))}")
    return json_answer(_card(name, house.models[name]))


@router.get("/live")
async def live() -> Response:
    """This process answers."""
    return json_answer({"status": "live"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """All models are loaded and warm."""
    missing = [served.description.name for served in house_of(request).distinct if not served.tower.is_ready]
    return json_answer({"status": "starting" if missing else "ready", "missing": missing}, 503 if missing else 200)


@router.get("/health")
async def health(request: Request) -> Response:
    """What runs each model answers, too."""
    house = house_of(request)
    state = {served.description.name: await served.tower.is_alive(2.0) for served in house.distinct}
    return json_answer(
        {"status": "healthy" if all(state.values()) else "unhealthy", "models": state},
        200 if all(state.values()) else 503,
    )


def _card(name: str, served: Served) -> dict[str, Any]:
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
        "facts": about.facts,
    }
