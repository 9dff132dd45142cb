"""What is said of a path that another server has: which one to use here.

Clients are told an address and add a path of their own, so a wrong address and another vendor's API both come as a
path that is not here.
"""

from __future__ import annotations

import re
from collections.abc import Collection

FOREIGN_PATHS: tuple[tuple[str, str], ...] = (
    (r"/v\w+/(.+/)?[^/]+:(batch|async\w+)?[eE]mbedContents?", "Gemini's API is not served"),
    (r"/v\w+/projects/.+:(predict|rawPredict)", "Vertex AI's API is not served"),
    (r"/openai/deployments/[^/]+/embeddings", "Azure's addresses of OpenAI's API are not served"),
    (r"(/models|/v1)?/images/embeddings", "Azure's API of images is not served"),
    (r"/models/embeddings", "Azure's API of models is not served"),
    (r"/api/(embed|embeddings|tags|show)", "Ollama's API is not served"),
    (r"/(embed|embed_all|embed_sparse|predict|score|pooling)", "the routes of other embedding servers are not served"),
    (r"/v2/models/.+", "Triton's API is not served"),
    (r"/v1/contextualizedembeddings", "contextualized embeddings are not made, every text has its own vector"),
    (
        r"(/v\d)?/(rerank|chat|chat/completions|completions|responses|generate|messages)",
        "no other work than embeddings",
    ),
)
"""Paths of other APIs -> what is said first."""


def hint(path: str, served: Collection[str]) -> str | None:
    """One sentence for a path that is not served; None where nothing is known of it.

    Args:
        path: as it was asked for.
        served: the paths that take a body.
    """
    ways = "/v1/embeddings (the base address of OpenAI's clients ends in /v1)"
    instead = ways if "/v1/embeddings" in served else ", ".join(sorted(served))
    plain = path.rstrip("/")
    for pattern, said in FOREIGN_PATHS:
        if re.fullmatch(pattern, plain):
            return f"{said}; vectors are made at {instead}"
    ends = [each for each in served if plain != each and plain.endswith(each)]
    if ends:
        found = max(ends, key=len)
        return f"there is {found}, without anything before it: shorten the base address that the client was given"
    return None
