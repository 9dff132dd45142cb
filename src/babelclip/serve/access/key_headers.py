"""In which header a key comes: OpenAI's, Jina's, Cohere's and Voyage's clients send one, Azure's and others another.

A file of its own because it is the one place that decides it: whoever looks for a key asks here.
"""

from __future__ import annotations

from collections.abc import Mapping

KEY_HEADERS = ("api-key", "x-api-key", "x-goog-api-key", "jina-api-key")
"""Azure's clients, Anthropic's and many proxies', Google's, and what Qdrant's client sends for Jina."""


def sent_key(headers: Mapping[str, str]) -> str | None:
    """What a request says of its key, in the form of the header ``Authorization``; None where it says nothing.

    ``Authorization: Bearer`` comes first. Of another scheme, as a proxy's ``Basic``, it leaves the say to the others.

    Args:
        headers: by lower-case name.
    """
    authorization = headers.get("authorization")
    if authorization is None or not authorization.lower().startswith("bearer "):
        for name in KEY_HEADERS:
            if key := headers.get(name, "").strip():
                return f"Bearer {key}"
    return authorization
