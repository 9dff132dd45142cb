"""``/v1/embeddings``: Jina's, OpenAI's and Voyage's request in one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from babelclip.serve.access.authenticator import Client
from babelclip.serve.aliases import one_of, task_of
from babelclip.serve.embedding_service import EmbeddingRequest, EmbeddingResult, FailedItem, OnError
from babelclip.serve.encoding_formats import Encoding, read_dimensions, read_encoding_format, read_formats
from babelclip.serve.errors import FieldError, InvalidInput
from babelclip.serve.guarded_route import admitted_client, guarded_router
from babelclip.serve.ignored_fields import IgnoredFields
from babelclip.serve.inference.served_model import ModelDescription, ServedModel
from babelclip.serve.items import ItemReader
from babelclip.serve.responses import embedding_response, failed_entry, list_body
from babelclip.serve.schemas import EmbeddingsRequest
from babelclip.serve.state import AppState


def router(state: AppState) -> APIRouter:
    """The route and what clients make of it."""
    routes = guarded_router(state)

    @routes.post("/v1/embeddings")
    @routes.post("/embeddings", include_in_schema=False)
    @routes.post("/v1/embeddings/embeddings", include_in_schema=False)  # a client whose base is the whole URL
    async def embeddings(request: Request, body: EmbeddingsRequest, on_error: OnError = "fail") -> Response:
        """Vectors of texts and images, in the order given."""
        client = admitted_client(request)
        return await answer_embeddings(state, request, client, body, on_error)

    return routes


async def answer_embeddings(
    state: AppState, request: Request, client: Client, body: EmbeddingsRequest, on_error: OnError = "fail"
) -> Response:
    """Vectors for a body of this shape, whichever route it came by.

    Raises:
        Refusal: the body is wrong, or cannot be answered now.
    """
    model = state.model(body.model)
    encoding = _encoding(body, model.description, client)
    ignored = _ignored_fields(state, body, model)
    asked = EmbeddingRequest(
        model=model,
        items=ItemReader(state.settings.item_limits, ignored, may_fail=on_error == "item").read_all(body.input),
        task=asked_task(body),
        truncate=asked_truncation(body, default=state.settings.truncate),
        on_error=on_error,
    )
    result = await state.service.embed(asked, client)
    remarks = ignored.headers() | _untrained_width(encoding.dim, model.description)
    return embedding_response(request, client, result, _body(result, encoding), remarks)


def asked_task(body: EmbeddingsRequest) -> str | None:
    """The task, by whichever name it was sent.

    Raises:
        InvalidInput: the names differ, or ``input_type`` is none that is known.
    """
    return one_of({"task": body.task or None, "input_type": task_of(body.input_type)})


def asked_truncation(body: EmbeddingsRequest, *, default: bool) -> bool:
    """Whether texts over the model's limit are cut, by whichever name that was said.

    Args:
        default: where the body does not say.

    Raises:
        InvalidInput: the names differ.
    """
    said = body.truncate if "truncate" in body.model_fields_set else None
    asked = one_of({"truncate": said, "truncation": body.truncation})
    return default if asked is None else asked


def _encoding(body: EmbeddingsRequest, model: ModelDescription, client: Client) -> Encoding:
    widths = {
        name: read_dimensions(getattr(body, name), model.dim, name) for name in ("dimensions", "output_dimension")
    }
    dim = one_of(widths) or default_dim(client, model)
    as_bytes = False
    if body.output_dtype is None:
        formats, by_format = read_formats(body.embedding_type, body.encoding_type, body.encoding_format)
    else:
        jinas = one_of({"embedding_type": body.embedding_type, "encoding_type": body.encoding_type})
        asked = one_of({"embedding_type": jinas, "output_dtype": body.output_dtype})
        formats, by_format = read_formats(asked)
        as_bytes = jinas is None and read_encoding_format(body.output_dtype, body.encoding_format)
    return Encoding(formats=formats, by_format=by_format, dim=dim, normalize=body.normalized, as_bytes=as_bytes)


def default_dim(client: Client, model: ModelDescription) -> int | None:
    """The width of a client's key, for models that are as wide: one key may be used for several."""
    dim = client.default_dim
    return dim if dim is not None and dim <= model.dim else None


def _body(result: EmbeddingResult, encoding: Encoding) -> dict[str, object]:
    data = [
        failed_entry(index, each)
        if isinstance(each, FailedItem)
        else {"object": "embedding", "index": index, "embedding": encoding.encode(each)}
        for index, each in enumerate(result.results)
    ]
    return list_body(result.model, data, result.usage)


def _untrained_width(dim: int | None, model: ModelDescription) -> dict[str, str]:
    """A header for a width that the model was not trained for: it works, if less well."""
    if dim is None or dim in model.dims:
        return {}
    return {"X-Warning": f"the model was not trained for {dim} dimensions, but for {', '.join(map(str, model.dims))}"}


def _ignored_fields(state: AppState, body: EmbeddingsRequest, model: ServedModel) -> IgnoredFields:
    """What was sent and means nothing here.

    Raises:
        InvalidInput: it is not to pass.
    """
    if body.late_chunking:
        raise InvalidInput([FieldError("late_chunking", "this model has no late chunking; send false or leave it out")])
    if body.return_multivector:
        raise InvalidInput(
            [FieldError("return_multivector", "an item has one vector here; send false or leave it out")]
        )
    ignored = state.ignored_fields(body)
    named = body.encoding_type if body.embedding_type is None else body.embedding_type
    ignored.add("encoding_format", when=named is not None and body.encoding_format not in (None, named))
    ignored.add("task", when=model.ignores_task(body.task))
    ignored.add("input_type", when=model.ignores_task(task_of(body.input_type)))
    ignored.add("user", when=body.user is not None)
    return ignored
