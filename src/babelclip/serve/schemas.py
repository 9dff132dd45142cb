"""Bodies of requests and answers, as OpenAPI shows them. What an item may be stands in ``items.py``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5"
    "ErkJggg=="
)


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_STRING = {"type": "string"}
_LOCATED = {"anyOf": [_STRING, _object(url=_STRING)], "description": "A URL or a data URI."}
ITEM_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "A text; one that begins with data:image/ is an image."},
        _object(text=_STRING),
        _object(image={"type": "string", "description": "A URL, a data URI or base64."}),
        _object(url={"type": "string", "description": "A URL or a data URI."}),
        _object(bytes={"type": "string", "description": "Base64."}),
        _object(type={"const": "text"}, text=_STRING),
        _object(type={"const": "image_url"}, image_url=_LOCATED),
        _object(type={"const": "image_base64"}, image_base64={"type": "string", "description": "A data URI."}),
    ]
}
INPUT_SCHEMA: dict[str, Any] = {
    "anyOf": [ITEM_SCHEMA, {"type": "array", "items": ITEM_SCHEMA}],
    "description": "One item or a list of them, texts and images mixed.",
}

EXAMPLES: list[Any] = [
    {"model": "babelclip-small", "input": ["a bridge at dawn", "黎明的桥"]},
    {"model": "babelclip-small", "input": [{"text": "a red dot"}, {"image": _PIXEL}], "dimensions": 64},
    {"model": "babelclip-small", "input": "a bridge at dawn", "embedding_type": ["float", "ubinary"]},
]

ERROR_SCHEMA: dict[str, Any] = _object(
    message=_STRING,
    detail={"type": "string", "description": "The same, for clients that read it here."},
    code={"type": "string", "description": "Jina's code, where Jina has one."},
    request_id=_STRING,
    error=_object(message=_STRING, type=_STRING, param={"type": ["string", "null"]}, code=_STRING),
)
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": ERROR_SCHEMA}}}
    for status, meaning in {
        400: "The model is not served, or a text is too long.",
        401: "A key is missing or wrong.",
        403: "The balance does not cover the request.",
        408: "The body did not come in time.",
        413: "The body, the list or an image is too large.",
        422: "The body does not say what is to be done; errors names the places.",
        429: "Too much for this key; Retry-After says when to come back.",
        504: "It took longer than the server lets a request take.",
        503: "The model is busy or away; Retry-After says when to come back.",
    }.items()
}
"""Of every route that takes a body."""


def _whole(value: object) -> object:
    """Numbers as they are: ``true`` is not 1. What a number may be depends on the model."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | str)):
        raise PydanticCustomError("int_type", "expected a whole number, as large as the model's width or less")
    return value


Width = Annotated[int | str | None, BeforeValidator(_whole)]
"""How many numbers of a vector are asked for, on every route; ``read_dimensions`` reads it."""


MODEL = "One of /v1/models; may be left out where one model is served."


class EmbeddingsRequest(BaseModel):
    """Jina's, OpenAI's and Voyage's body of ``/v1/embeddings`` in one.

    Unknown fields are ignored and named in a header.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": EXAMPLES})

    model: str | None = Field(None, max_length=500, description=MODEL)
    input: Any = Field(validation_alias=AliasChoices("input", "texts"), json_schema_extra=INPUT_SCHEMA)
    dimensions: Width = Field(None, description="From 1 to the model's width; a numeric string will do.")
    embedding_type: str | list[str] | None = Field(
        None, description="float, base64, binary, ubinary, int8 or uint8; of a list, every embedding has all."
    )
    encoding_type: str | list[str] | None = Field(None, description="The older name of embedding_type.")
    encoding_format: str | list[str] | None = Field(None, description="OpenAI's name of it; Jina's names win.")
    normalized: bool = Field(True, description="Bring vectors to length one, after they were cut.")
    task: str | None = Field(None, description="retrieval.query, or another that the model knows.")
    truncate: bool = Field(False, description="Cut texts over the model's limit instead of refusing them.")
    late_chunking: bool | None = Field(None, description="Only false: the model has none.")
    return_multivector: bool | None = Field(None, description="Only false: an item has one vector.")
    input_type: str | None = Field(None, description="Voyage's name of task: query or document.")
    truncation: bool | None = Field(None, description="Voyage's name of truncate.")
    output_dimension: Width = Field(None, description="Voyage's name of dimensions.")
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None = Field(
        None, description="Voyage's name of embedding_type; with encoding_format base64, these numbers' bytes."
    )
    user: str | None = Field(None, description="Ignored, as X-Ignored-Fields says.")
