"""``/ping`` and ``/invocations``: a container on SageMaker (``--mode sagemaker``), asked as Jina's own is.

The platform has checked who asks and forwards these two paths alone; there are no keys here. A body is Jina's
``{"data": [...], "parameters": {...}}``, a body of ``/v1/embeddings``, or the CSV of a batch job.

Sources: AWS, "Use Your Own Inference Code with Hosting Services" (ports, paths, times); Jina AI's client for SageMaker
(the body, and vectors that are not normalised unless that is asked for).
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.embeddings import embed
from babelclip.serve.forms import formed, read_dimensions, read_forms
from babelclip.serve.gate import Guest
from babelclip.serve.house import House, house_of
from babelclip.serve.items import read_items
from babelclip.serve.routes.embeddings import answer_embeddings
from babelclip.serve.schemas import EmbeddingsRequest

router = APIRouter()
COLUMNS = ("id", "text", "url", "bytes")
"""Of a CSV without a line of names."""
_ALSO = {"uuid": "id", "image_url": "url", "image": "bytes"}


class Parameters(BaseModel):
    """What holds for all items."""

    model_config = ConfigDict(extra="allow")

    task: str | None = None
    dimensions: int | str | None = None
    normalized: bool = False
    embedding_type: str | list[str] | None = None
    truncate: bool = True


class Invocation(BaseModel):
    """Jina's body."""

    data: Any
    parameters: Parameters = Parameters()


@router.get("/ping")
async def ping(request: Request) -> Response:
    """The model is loaded, warm, and answers."""
    well = all([await served.tower.is_alive(1.5) for served in house_of(request).distinct])
    return Response(status_code=200 if well else 503)


@router.post("/invocations")
async def invocations(request: Request) -> Response:
    """Vectors of the items."""
    house = house_of(request)
    content = await request.body()
    with house.enter(request) as guest:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/csv":
            names, rows = read_rows(content)
            return await _answer(request, house, guest, Invocation(data=rows), names)
        try:
            if _has_input(body := _read_json(content)):
                asked = EmbeddingsRequest.model_validate({"model": house.first.description.name, **body})
                return await answer_embeddings(request, house, guest, asked)
            return await _answer(request, house, guest, Invocation.model_validate(body))
        except ValidationError as error:
            wrong = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            raise RequestValidationError(wrong) from error


async def _answer(
    request: Request, house: House, guest: Guest, asked: Invocation, names: list[str] | None = None
) -> Response:
    served, how = house.first, asked.parameters
    forms, is_lone = read_forms(how.embedding_type, None, None)
    dim = read_dimensions(how.dimensions, served.description.dim, "parameters.dimensions")
    items, _ = read_items(asked.data, house.settings.item_limits, "data")
    embedded = await embed(served, items, house.kitchen, guest, task=how.task, truncate=how.truncate, field="data")
    data = []
    for place, (raw, priced) in enumerate(zip(embedded.vectors, embedded.priced, strict=True)):
        name = names[place] if names else secrets.token_hex(16)
        written = formed(raw, forms, is_lone=is_lone, dim=dim, normalize=how.normalized)
        data.append({"id": name, "embedding": written, "usage": {"id": name, "total_tokens": priced.tokens}})
    parameters = {"dimensions": None if dim is None else float(dim), "task": how.task}
    answer = {"data": data, "parameters": parameters}
    return json_answer(answer, headers=house.headers(request, served, guest, embedded))


def _read_json(content: bytes) -> Mapping[str, Any]:
    """Raises: InvalidInput for what is no JSON object."""
    try:
        body = orjson.loads(content)
    except ValueError:
        raise InvalidInput([Wrong("body", "expected JSON, or text/csv where the content type says so")]) from None
    if not isinstance(body, dict):
        raise InvalidInput([Wrong("body", 'expected {"data": [...], "parameters": {...}} or a body of /v1/embeddings')])
    return body


def _has_input(body: Mapping[str, Any]) -> bool:
    return "data" not in body and ("input" in body or "texts" in body)


def read_rows(content: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """Names and items of a CSV: each line has one of text, url and bytes; a first line may name the columns.

    Raises: InvalidInput that names the line.
    """
    csv.field_size_limit(max(len(content), csv.field_size_limit()))  # an image is longer than the module expects
    try:
        lines = [line for line in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if line]
    except (UnicodeDecodeError, csv.Error):
        raise InvalidInput([Wrong("body", "expected CSV in UTF-8")]) from None
    columns = list(COLUMNS)
    named = [_ALSO.get(cell.strip().lower(), cell.strip().lower()) for cell in lines[0]] if lines else []
    if named and set(named) <= set(COLUMNS):
        columns, lines = named, lines[1:]
    names: list[str] = []
    items: list[dict[str, str]] = []
    for number, line in enumerate(lines):
        cells = {column: cell for column, cell in zip(columns, line, strict=False) if cell}
        if len(line) > len(columns):
            raise InvalidInput([Wrong(f"data[{number}]", f"expected {', '.join(columns)}, found {len(line)} columns")])
        names.append(cells.pop("id", "") or str(number))
        items.append(cells)
    return names, items
