"""The one place where an exception becomes an HTTP answer: which refusal it is, and the one body that all clients read.

``detail`` is always a string: Weaviate parses it as one, LangChain and others print it. ``error`` is what OpenAI's and
Vercel's clients read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from babelclip.serve.access_log import AccessLog
from babelclip.serve.errors import FieldError, HttpError, InvalidInput, Refusal, ServerFailed
from babelclip.serve.foreign_paths import hint
from babelclip.serve.responses import json_response
from babelclip.serve.sub_path import path_below

MAX_FIELD_ERRORS = 20  # of those that pydantic finds in one body

Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


def exception_handlers(access_log: AccessLog, served: Collection[str]) -> dict[int | type[Exception], Handler]:
    """For an application: its own refusals, and what FastAPI raises by itself.

    What is raised besides is answered outside of the application, by ``request_limits``.

    Args:
        access_log: is told of each.
        served: the paths that take a body, for whoever has missed them.
    """

    async def respond(request: Request, error: Exception) -> Response:
        refusal = as_refusal(error)
        if refusal.status == 404 and str(refusal) == HTTPStatus.NOT_FOUND.phrase:  # no route at all
            refusal = HttpError(404, hint(path_below(request.scope), served) or str(refusal))
        access_log.refused(request.scope, refusal.code)
        return error_response(refusal, request.scope["state"]["request_id"])

    return dict.fromkeys((Refusal, RequestValidationError, HTTPException), respond)


def as_refusal(error: Exception) -> Refusal:
    """What an exception is to a client. Nothing that a client sent is repeated from errors that are not ours."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidInput([_field_error(each) for each in error.errors()[:MAX_FIELD_ERRORS]])
    if isinstance(error, HTTPException):
        return HttpError(error.status_code, str(error.detail), error.headers)
    return ServerFailed()


def _field_error(found: Mapping[str, Any]) -> FieldError:
    """One of pydantic's errors, without the value that was sent."""
    return FieldError(".".join(str(part) for part in found["loc"][1:]) or "body", found["msg"], found["type"])


def error_response(refusal: Refusal, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is turned away.

    Args:
        refusal: why.
        request_id: of the request.
        headers: beside the refusal's own.
    """
    errors = refusal.errors if isinstance(refusal, InvalidInput) else ()
    message = str(refusal)
    content: dict[str, Any] = {
        "message": message,
        "detail": message,
        "code": refusal.code,
        "request_id": request_id,
        "error": {
            "message": message,
            "type": _openai_type(refusal.status),
            "param": errors[0].field if errors else None,
            "code": refusal.code,
        },
    }
    if errors:
        content["errors"] = [{"field": each.field, "message": each.message, "type": each.type} for each in errors]
    return json_response(content, refusal.status, {**refusal.headers, **(headers or {})})


def _openai_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
