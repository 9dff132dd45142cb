"""Bodies of answers: JSON with vectors in it, and one body for every error that all clients understand.

``detail`` is always a string: Weaviate parses it as one, LangChain and others print it. ``error`` is what OpenAI's and
Vercel's clients read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.serve.refusals import Refusal


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON as fast as it can be written; most of an answer is numbers."""
    return Response(orjson.dumps(content), status, dict(headers or {}), "application/json")


def error_answer(
    status: int,
    code: str,
    message: str,
    request_id: str,
    *,
    wrong: tuple[Wrong, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The one error body."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    if status == 429:
        kind = "rate_limit_error"
    content: dict[str, Any] = {
        "message": message,
        "detail": message,
        "code": code,
        "request_id": request_id,
        "error": {"message": message, "type": kind, "param": wrong[0].field if wrong else None, "code": code},
    }
    if wrong:
        content["errors"] = [{"field": each.field, "message": each.message, "type": each.type} for each in wrong]
    return json_answer(content, status, headers)


def refusal_answer(refusal: Refusal, request_id: str) -> Response:
    """A refusal as an answer."""
    wrong = refusal.wrong if isinstance(refusal, InvalidInput) else ()
    return error_answer(refusal.status, refusal.code, str(refusal), request_id, wrong=wrong, headers=refusal.headers)
