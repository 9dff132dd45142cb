"""What a reader makes of each page's example: another width, another type, a long text that is cut.

``docs/clients/README.md`` shows them as a table, which ``test_page_coverage.py`` holds against this file.
"""

from __future__ import annotations

from dataclasses import dataclass

MODEL = 'model_name="babelclip-small"'
VOYAGE = 'inputs, model="babelclip-small"'


@dataclass(frozen=True)
class Edit:
    """What the table says, and what of the page's code becomes what."""

    said: str
    changes: tuple[tuple[str, str], ...] = ()
    numbers: str = "int8"  # of another type


BY_KEY = Edit("by the [key](../guides/serve.md#prices-and-keys)")
BY_SERVER = Edit("by the server's `--truncate`")
UNASKED = Edit("unasked")
NONE = Edit("float alone")


def adding(said: str, before: str, *, plain: bool = True) -> Edit:
    """An argument that is added behind another one.

    Args:
        said: as it is written in code.
        before: what stands before it.
        plain: a call's argument; else an entry of a dictionary.
    """
    name, _, value = said.partition("=")
    return Edit(f"`{said}`", ((before, f"{before}, {said}" if plain else f'{before}, "{name}": {value}'),))


def provider_option(said: str, numbers: str = "int8") -> Edit:
    """An option of Vercel's SDK."""
    return Edit(f"`{said}`", (("  values:", f"  providerOptions: {{ jina: {{ {said} }} }},\n  values:"),), numbers)


WIDTHS: dict[str, Edit] = {
    "agno": Edit("`dimensions=64`", (("dimensions=384", "dimensions=64"),)),
    "chroma": adding("dimensions=64", MODEL),
    "cohere": adding("output_dimension=64", '"embedding_types": ["float"]', plain=False),
    "haystack": adding("dimensions=64", "progress_bar=False"),
    "langchain": BY_KEY,
    "litellm": adding("dimensions=64", '"model": "jina_ai/babelclip-small"', plain=False),
    "llama-index": adding("dimensions=64", "embed_batch_size=16"),
    "milvus": Edit("`dimensions=64`", (("dimensions=384", "dimensions=64"),)),
    "openai": adding("dimensions=64", 'create(model="babelclip-small"'),
    "vercel-ai": provider_option("outputDimension: 64"),
    "voyage": adding("output_dimension=64", VOYAGE),
}
TYPES: dict[str, Edit] = {
    "agno": adding('embedding_type="int8"', "dimensions=384"),
    "chroma": adding('embedding_type="int8"', MODEL),
    "cohere": Edit(
        '`embedding_types=["int8"]`',
        (('["float"]', '["int8"]'), ("answer.embeddings.float_", "answer.embeddings.int8")),
    ),
    "haystack": NONE,
    "langchain": NONE,
    "litellm": adding('embedding_type="int8"', '"model": "jina_ai/babelclip-small"', plain=False),
    "llama-index": Edit(
        '`encoding_documents="ubinary"`',
        (("embed_batch_size=16", 'embed_batch_size=16, encoding_documents="ubinary"'),),
        "bits",
    ),
    "milvus": NONE,
    "openai": adding('encoding_format="int8"', 'create(model="babelclip-small"'),
    "vercel-ai": provider_option('embeddingType: "ubinary"', "ubinary"),
    "voyage": adding('output_dtype="int8"', VOYAGE),
}
LONG_TEXTS: dict[str, Edit] = {
    "agno": adding('request_params={"truncate": True}', "dimensions=384"),
    "chroma": adding("truncate=True", MODEL),
    "cohere": UNASKED,
    "haystack": BY_SERVER,
    "langchain": BY_SERVER,
    "litellm": adding("truncate=True", '"model": "jina_ai/babelclip-small"', plain=False),
    "llama-index": BY_SERVER,
    "milvus": BY_SERVER,
    "openai": adding('extra_body={"truncate": True}', 'create(model="babelclip-small"'),
    "vercel-ai": provider_option("truncate: true"),
    "voyage": UNASKED,
}
