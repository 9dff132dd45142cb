"""``/v1/classify``: which of some labels is nearest to each text or image, in Jina's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.serve.bad_requests import InvalidInput, TooLarge, Wrong
from babelclip.serve.embeddings import embed
from babelclip.serve.house import house_of, list_answer
from babelclip.serve.items import TextItem, read_items
from babelclip.serve.schemas import INPUT_SCHEMA
from babelclip.vectors import similarity, softmax

MOST_LABELS = 512
router = APIRouter()
EXAMPLE: dict[str, Any] = {
    "model": "babelclip-small",
    "input": ["ein Hund", "un puente"],
    "labels": ["animal", "building"],
}


class ClassifyRequest(BaseModel):
    """Items and labels, at least two."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(max_length=500)
    input: Any = Field(validation_alias=AliasChoices("input", "texts"), json_schema_extra=INPUT_SCHEMA)
    labels: list[str]


@router.post("/v1/classify")
async def classify(request: Request, body: ClassifyRequest) -> Response:
    """A label for every item, with the probabilities of all: the softmax of the model's own scale times the cosines."""
    house = house_of(request)
    labels = list(dict.fromkeys(body.labels))
    if len(labels) < 2 or "" in labels:
        raise InvalidInput([Wrong("labels", "expected at least two different labels, none of them empty")])
    if len(labels) > MOST_LABELS:
        raise TooLarge(f"labels has {len(labels):,} items, the limit is {MOST_LABELS}")
    with house.enter(request) as guest:
        served = house.served(body.model)
        items, _ = read_items(body.input, house.settings.item_limits)
        asked = [*items, *(TextItem(label) for label in labels)]
        embedded = await embed(served, asked, house.kitchen, guest)
        data = []
        if items:
            raw = np.stack(embedded.vectors)
            cosines = similarity(raw[: len(items)], raw[len(items) :])
            chances = softmax(cosines * (served.description.logit_scale or 1.0))
            data = [_prediction(place, row, labels) for place, row in enumerate(chances)]
        return list_answer(served, data, embedded.usage, house.headers(request, served, guest, embedded))


def _prediction(place: int, chances: np.ndarray[Any, np.dtype[np.float32]], labels: list[str]) -> dict[str, Any]:
    best = int(chances.argmax())
    return {
        "object": "classification",
        "index": place,
        "prediction": labels[best],
        "score": float(chances[best]),
        "predictions": [
            {"label": label, "score": float(chance)} for label, chance in zip(labels, chances, strict=True)
        ],
    }
