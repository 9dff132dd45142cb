"""``/ping`` and ``/invocations``: a container on SageMaker (``--mode sagemaker``), asked as Jina's own is.

The platform has checked who asks and forwards these two paths alone; there are no keys here. A body is Jina's
``{"data": [...], "parameters": {...}}``, a body of ``/v1/embeddings``, or the CSV of a batch job.

Sources: AWS, "Use Your Own Inference Code with Hosting Services" (ports, paths, times); Jina AI's client for SageMaker
(the body, and vectors that are not normalized unless that is asked for).
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from babelclip.serve.access.authenticator import Client
from babelclip.serve.embedding_service import EmbeddingRequest, EmbeddingResult
from babelclip.serve.encoding_formats import Encoding, read_dimensions, read_formats
from babelclip.serve.errors import FieldError, InvalidInput, TooLarge
from babelclip.serve.guarded_route import admitted_client, guarded_router, is_csv
from babelclip.serve.items import ItemReader
from babelclip.serve.responses import embedding_response
from babelclip.serve.routes.embeddings import answer_embeddings
from babelclip.serve.schemas import EmbeddingsRequest, Width
from babelclip.serve.state import AppState

_COLUMNS = ("id", "text", "url", "bytes")
"""Of a CSV without a line of names."""
MAX_COMMAS = 50_000  # of one line, those within texts included
_ALSO = {"uuid": "id", "image_url": "url", "image": "bytes"}


class Parameters(BaseModel):
    """What holds for all items."""

    model_config = ConfigDict(extra="allow")

    task: str | None = None
    dimensions: Width = None
    normalized: bool = False
    embedding_type: str | list[str] | None = None
    truncate: bool = True


class Invocation(BaseModel):
    """Jina's body."""

    model_config = ConfigDict(extra="allow")

    data: Any
    parameters: Parameters = Parameters()


def router(state: AppState) -> APIRouter:
    """The two paths."""
    routes = guarded_router(state)

    @routes.get("/ping")
    async def ping() -> Response:
        """The model is loaded, warm, and answers."""
        well = all([await model.backend.is_alive(1.5) for model in state.distinct_models])
        return Response(status_code=200 if well else 503)

    @routes.post("/invocations")
    async def invocations(request: Request) -> Response:
        """Vectors of the items."""
        client = admitted_client(request)
        if is_csv(request):
            names, rows = read_csv_rows(await request.body(), state.settings.max_items)
            return await _answer(state, request, client, Invocation(data=rows), names)
        body = await _read_json(request)
        try:
            if _has_input(body):
                asked = EmbeddingsRequest.model_validate({"model": state.first_model.description.name, **body})
                return await answer_embeddings(state, request, client, asked)
            return await _answer(state, request, client, Invocation.model_validate(body))
        except ValidationError as error:
            errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            raise RequestValidationError(errors) from error

    return routes


async def _answer(
    state: AppState, request: Request, client: Client, body: Invocation, names: Sequence[str] = ()
) -> Response:
    """Vectors for Jina's body, with the items' names where they have some."""
    model, parameters = state.first_model, body.parameters
    formats, by_format = read_formats(parameters.embedding_type)
    dim = read_dimensions(parameters.dimensions, model.description.dim, "parameters.dimensions")
    ignored = state.ignored_fields(body)
    ignored.add_extra(parameters, "parameters.")
    ignored.add("parameters.task", when=model.ignores_task(parameters.task))
    asked = EmbeddingRequest(
        model=model,
        items=ItemReader(state.settings.item_limits, ignored).read_all(body.data, "data"),
        task=parameters.task,
        truncate=parameters.truncate,
        field="data",
    )
    result = await state.service.embed(asked, client)
    encoding = Encoding(formats=formats, by_format=by_format, dim=dim, normalize=parameters.normalized)
    return embedding_response(request, client, result, _body(result, parameters, names, encoding), ignored.headers())


def _body(result: EmbeddingResult, parameters: Parameters, names: Sequence[str], encoding: Encoding) -> dict[str, Any]:
    data = []
    for index, (raw, priced) in enumerate(zip(result.vectors, result.priced, strict=True)):
        name = names[index] if names else secrets.token_hex(16)
        usage = {"id": name, "total_tokens": priced.tokens}
        data.append({"id": name, "embedding": encoding.encode(raw), "usage": usage})
    dim = None if encoding.dim is None else float(encoding.dim)
    return {"data": data, "parameters": {"dimensions": dim, "task": parameters.task}}


async def _read_json(request: Request) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        InvalidInput: it is none.
    """
    try:
        body = await request.json()
    except ValueError:
        raise InvalidInput([FieldError("body", "expected JSON, or text/csv where the content type says so")]) from None
    if not isinstance(body, dict):
        raise InvalidInput(
            [FieldError("body", 'expected {"data": [...], "parameters": {...}} or a body of /v1/embeddings')]
        )
    return body


def _has_input(body: Mapping[str, Any]) -> bool:
    return "data" not in body and ("input" in body or "texts" in body)


def read_csv_rows(content: bytes, max_items: int) -> tuple[list[str], list[dict[str, str]]]:
    """Names and items of a CSV: each line has one of text, url and bytes; a first line may name the columns.

    Raises:
        InvalidInput: it is no CSV, or a line has too many columns; the message names the line.
        TooLarge: it has more lines than a request may have items; the rest was not read.
    """
    csv.field_size_limit(max(len(content), csv.field_size_limit()))  # an image is longer than the module expects
    columns: Sequence[str] = ()
    names: list[str] = []
    items: list[dict[str, str]] = []
    try:
        for line in filter(None, csv.reader(_lines(content))):
            if not columns:
                named = [_ALSO.get(cell.strip().lower(), cell.strip().lower()) for cell in line]
                columns = named if set(named) <= set(_COLUMNS) else _COLUMNS
                if columns is named:
                    continue
            if len(items) == max_items:
                raise TooLarge(f"data has more than {max_items:,} items; send several requests")
            if len(line) > len(columns):
                expected = f"expected {', '.join(columns)}, found {len(line)} columns"
                raise InvalidInput([FieldError(f"data[{len(items)}]", expected)])
            cells = {column: cell for column, cell in zip(columns, line, strict=False) if cell}
            names.append(cells.pop("id", "") or str(len(names)))
            items.append(cells)
    except (UnicodeDecodeError, csv.Error):
        raise InvalidInput([FieldError("body", "expected CSV in UTF-8")]) from None
    return names, items


def _lines(content: bytes) -> Iterator[str]:
    """The lines of a CSV, none of which has more commas than cells can be made of in little memory.

    Raises:
        InvalidInput: one has.
    """
    for line in io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=""):
        if line.count(",") > MAX_COMMAS:
            raise InvalidInput([FieldError("body", f"expected CSV, found a line with more than {MAX_COMMAS:,} commas")])
        yield line
