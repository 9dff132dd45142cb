"""``/v1/classify``: which of some labels is nearest to each text or image, in Jina's shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.responses import Response

from babelclip.serve.embedding_service import EmbeddingRequest, EmbeddingResult
from babelclip.serve.errors import FieldError, InvalidInput, TooLarge
from babelclip.serve.guarded_route import admitted_client, guarded_router
from babelclip.serve.items import ItemReader, TextItem
from babelclip.serve.responses import embedding_response, list_body
from babelclip.serve.schemas import INPUT_SCHEMA, MODEL
from babelclip.serve.state import AppState
from babelclip.vectors import similarity, softmax

MAX_LABELS = 512
_EXAMPLE: dict[str, Any] = {
    "model": "babelclip-small",
    "input": ["ein Hund", "un puente"],
    "labels": ["animal", "building"],
}


class ClassifyRequest(BaseModel):
    """Items and labels, at least two."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    model: str | None = Field(None, max_length=500, description=MODEL)
    input: Any = Field(validation_alias=AliasChoices("input", "texts"), json_schema_extra=INPUT_SCHEMA)
    labels: list[str]
    truncate: bool | None = Field(None, description="Cut texts over the model's limit instead of refusing them.")


def router(state: AppState) -> APIRouter:
    """The route."""
    routes = guarded_router(state)

    @routes.post("/v1/classify")
    async def classify(request: Request, body: ClassifyRequest) -> Response:
        """A label for every item, with the probabilities of all: a softmax of cosines times the model's own scale."""
        labels = _labels(body)
        client = admitted_client(request)
        model = state.model(body.model)
        ignored = state.ignored_fields(body)
        items = ItemReader(state.settings.item_limits, ignored).read_all(body.input)
        truncate = state.settings.truncate if body.truncate is None else body.truncate
        asked = EmbeddingRequest(model=model, items=[*items, *map(TextItem, labels)], truncate=truncate)
        result = await state.service.embed(asked, client)
        return embedding_response(request, client, result, _body(result, len(items), labels), ignored.headers())

    return routes


def _labels(body: ClassifyRequest) -> list[str]:
    labels = list(dict.fromkeys(body.labels))
    if len(labels) < 2 or "" in labels:
        raise InvalidInput([FieldError("labels", "expected at least two different labels, none of them empty")])
    if len(labels) > MAX_LABELS:
        raise TooLarge(f"labels has {len(labels):,} items, the limit is {MAX_LABELS}")
    return labels


def _body(result: EmbeddingResult, items: int, labels: list[str]) -> dict[str, Any]:
    """The vectors of the items, then those of the labels -> a prediction for each item."""
    data = []
    if items:
        raw = np.stack(result.vectors)
        cosines = similarity(raw[:items], raw[items:])
        probabilities = softmax(cosines * (result.model.logit_scale or 1.0))
        data = [_prediction(index, row, labels) for index, row in enumerate(probabilities)]
    return list_body(result.model, data, result.usage)


def _prediction(index: int, probabilities: np.ndarray[Any, np.dtype[np.float32]], labels: list[str]) -> dict[str, Any]:
    best = int(probabilities.argmax())
    return {
        "object": "classification",
        "index": index,
        "prediction": labels[best],
        "score": float(probabilities[best]),
        "predictions": [
            {"label": label, "score": float(probability)}
            for label, probability in zip(labels, probabilities, strict=True)
        ],
    }
