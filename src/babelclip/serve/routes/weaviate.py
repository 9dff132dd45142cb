"""Weaviate's container ``multi2vec-clip``: what its module of that name asks of an inference server."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.embeddings import embed
from babelclip.serve.forms import formed
from babelclip.serve.house import default_dim, house_of
from babelclip.serve.items import Item, TextItem, read_items
from babelclip.version import __version__

router = APIRouter()


class VectorizeRequest(BaseModel):
    """Texts, and images in base64."""

    texts: list[str] = Field(default_factory=list)
    images: list[str] = Field(default_factory=list)


@router.post("/vectorize")
async def vectorize(request: Request, body: VectorizeRequest) -> Response:
    """Vectors of both lists, by the first model that is served: Weaviate names none."""
    house = house_of(request)
    with house.enter(request) as guest:
        served, limits = house.first, house.settings.item_limits
        images, _ = read_items([{"image": image} for image in body.images], limits, "images")
        items: list[Item] = [*(TextItem(text) for text in body.texts), *images]
        limits.check_number(len(items), "texts and images")
        embedded = await embed(served, items, house.kitchen, guest, truncate=True)
        dim = default_dim(guest, served)
        rows = [formed(raw, ["float"], is_lone=True, dim=dim, normalize=True) for raw in embedded.vectors]
        texts = len(body.texts)
        answer = {"textVectors": rows[:texts], "imageVectors": rows[texts:], "error": ""}
        return json_answer(answer, headers=house.headers(request, served, guest, embedded))


@router.get("/meta")
async def meta(request: Request) -> Response:
    """What the module shows about the model."""
    served = house_of(request).first
    return json_answer({"version": __version__, "model": served.description.name, "facts": served.description.facts})


@router.get("/.well-known/live", status_code=204)
async def is_live() -> Response:
    """This process answers."""
    return Response(status_code=204)


@router.get("/.well-known/ready", status_code=204)
async def is_ready(request: Request) -> Response:
    """All models are loaded and warm."""
    ready = all(served.tower.is_ready for served in house_of(request).distinct)
    return Response(status_code=204 if ready else 503)
