"""Bodies of requests, as OpenAPI shows them. What an item of ``input`` may be stands in ``items.py``."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

EXAMPLE: dict[str, Any] = {
    "model": "babelclip-small",
    "input": ["a bridge at dawn", {"text": "黎明的桥"}, {"image": "data:image/png;base64,iVBORw0KGgo..."}],
    "dimensions": 64,
}


class EmbeddingsRequest(BaseModel):
    """Jina's and OpenAI's body of ``/v1/embeddings`` in one. Unknown fields are ignored and named in a header."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(max_length=500)
    input: Any = Field(
        validation_alias=AliasChoices("input", "texts"),
        description="One item or a list of them, texts and images mixed: strings, data URIs, "
        '{"text": ...}, {"image": URL, data URI or base64}, {"url": ...}, {"bytes": base64}, OpenAI\'s content parts.',
    )
    dimensions: int | str | None = Field(None, description="From 1 to the model's width; a numeric string will do.")
    embedding_type: str | list[str] | None = Field(
        None, description="float, base64, binary, ubinary, int8 or uint8; of a list, every embedding has all."
    )
    encoding_type: str | list[str] | None = Field(None, description="The older name of embedding_type.")
    encoding_format: str | list[str] | None = Field(None, description="OpenAI's name of it; Jina's names win.")
    normalized: bool = True
    task: str | None = None
    truncate: bool = False
    late_chunking: bool | None = None
    user: str | None = Field(None, description="Ignored.")
