"""``/v1/embeddings``: Jina's and OpenAI's request in one."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.embeddings import Failed, OnError, embed
from babelclip.serve.forms import formed, read_dimensions, read_forms
from babelclip.serve.gate import Guest
from babelclip.serve.house import House, default_dim, failed_entry, house_of, list_answer
from babelclip.serve.items import read_items
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.served import Served
from babelclip.serve.settings import ServerSettings

router = APIRouter()


@router.post("/v1/embeddings")
@router.post("/embeddings", include_in_schema=False)
@router.post("/v1/embeddings/embeddings", include_in_schema=False)  # what a client makes of a whole URL as its base
async def embeddings(request: Request, body: EmbeddingsRequest, on_error: OnError = "fail") -> Response:
    """Vectors of texts and images, in the order given."""
    house = house_of(request)
    with house.enter(request) as guest:
        return await answer_embeddings(request, house, guest, body, on_error)


async def answer_embeddings(
    request: Request, house: House, guest: Guest, body: EmbeddingsRequest, on_error: OnError = "fail"
) -> Response:
    """Vectors for a body of this shape, whichever route it came by. Raises: a Refusal."""
    served = house.served(body.model)
    forms, is_lone = read_forms(body.embedding_type, body.encoding_type, body.encoding_format)
    dim = read_dimensions(body.dimensions, served.description.dim) or default_dim(guest, served)
    remarks = _ignored_fields(body, house.settings) | _untrained_width(dim, served)
    items, _ = read_items(body.input, house.settings.item_limits, may_fail=on_error == "item")
    embedded = await embed(
        served, items, house.kitchen, guest, task=body.task, truncate=body.truncate, on_error=on_error
    )
    write = partial(formed, forms=forms, is_lone=is_lone, dim=dim, normalize=body.normalized)
    data = [
        failed_entry(place, each)
        if isinstance(each, Failed)
        else {"object": "embedding", "index": place, "embedding": write(each)}
        for place, each in enumerate(embedded.results)
    ]
    headers = house.headers(request, served, guest, embedded) | remarks
    return list_answer(served, data, embedded.usage, headers)


def _untrained_width(dim: int | None, served: Served) -> dict[str, str]:
    """A header for a width that the model was not trained for: it works, if less well."""
    dims = served.description.dims
    if dim is None or dim in dims:
        return {}
    return {"X-Warning": f"the model was not trained for {dim} dimensions, but for {', '.join(map(str, dims))}"}


def _ignored_fields(body: EmbeddingsRequest, settings: ServerSettings) -> dict[str, str]:
    """A header that names what was sent and means nothing here. Raises: InvalidInput where that is not to pass."""
    if body.late_chunking:
        raise InvalidInput([Wrong("late_chunking", "this model has no late chunking; send false or leave it out")])
    unknown = sorted(name for name in body.model_extra or {} if name.isascii() and name.isprintable())[:20]
    if unknown and settings.strict_fields:
        raise InvalidInput([Wrong(name[:80], "unknown field", "extra_forbidden") for name in unknown])
    return {"X-Ignored-Fields": ", ".join(name[:80] for name in unknown)} if unknown else {}
