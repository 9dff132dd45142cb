"""What the answers of all routes have in common.

JSON with vectors in it, Jina's envelope, and the headers that say how an answer was made. Answers to requests that are
turned away are in ``error_responses``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from babelclip.serve.access.authenticator import Client
from babelclip.serve.access_log import add_log_fields
from babelclip.serve.embedding_service import EmbeddingResult, FailedItem, PricingResult
from babelclip.serve.inference.served_model import ModelDescription
from babelclip.serve.pricing import Usage

NO_HEADERS: Mapping[str, str] = {}


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as fast as it can be written; most of an answer is numbers."""
    return Response(orjson.dumps(content), status, dict(headers or {}), "application/json")


def embedding_response(
    request: Request, client: Client, result: EmbeddingResult, content: Any, remarks: Mapping[str, str] = NO_HEADERS
) -> Response:
    """An answer with vectors, in whatever shape; the line of its request in the log is told what was done.

    Args:
        remarks: headers about the request itself.
    """
    add_log_fields(
        request.scope,
        model=result.model.name,
        texts=result.texts,
        images=result.images,
        tokens=result.usage.total,
        stages={stage: round(seconds, 6) for stage, seconds in result.timings.seconds.items()},
    )
    return json_response(content, headers={**_headers(client, result), **remarks})


def pricing_response(client: Client, result: PricingResult, content: Any, remarks: Mapping[str, str]) -> Response:
    """An answer with prices."""
    return json_response(content, headers={**_headers(client, result), **remarks})


def list_body(model: ModelDescription, data: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    """Jina's envelope around one entry an item."""
    counted = {"total_tokens": usage.total, "prompt_tokens": usage.total, "image_tokens": usage.image_tokens}
    return {"model": model.name, "object": "list", "usage": counted, "data": data}


def failed_entry(index: int, failed: FailedItem) -> dict[str, Any]:
    """What stands in the place of an item that failed."""
    return {"object": "error", "index": index, "code": failed.code, "detail": failed.message}


def _headers(client: Client, result: EmbeddingResult | PricingResult) -> dict[str, str]:
    """Which model ran, whatever name it was asked by, and how; how long it took; what the client has left."""
    facts = result.model.facts
    named = {
        "X-Model": result.model.name,
        "X-Model-Revision": facts.get("fingerprint"),
        "X-Compute-Dtype": facts.get("dtype"),
    }
    headers = {name: str(value) for name, value in named.items() if value is not None}
    if result.timings.seconds:  # W3C Server Timing: milliseconds
        stages = (f"{stage};dur={1000 * seconds:.2f}" for stage, seconds in result.timings.seconds.items())
        headers["Server-Timing"] = ", ".join(stages)
    return headers | client.quota_headers()
