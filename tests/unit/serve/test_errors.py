"""Every error is one body that all clients read, from one place, and stands in the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from babelclip.serve import errors
from babelclip.serve.error_responses import as_refusal, error_response
from babelclip.serve.errors import Busy, FieldError, HttpError, InvalidInput, Refusal, ServerFailed, TooManyTokens

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"
BODY = {"message", "detail", "code", "request_id", "error"}
TAKES_A_BODY = ("/v1/embeddings", "/v1/tokens", "/v1/classify", "/v1/multimodalembeddings", "/v2/embed", "/vectorize")
SECRET = "what-a-client-sent"


def kinds(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)


def test_every_refusal_is_of_this_file_in_its_tree_and_in_the_documents() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    told = [(int(status), codes) for statuses, codes in rows for status in statuses.split(",")]
    for kind in kinds():
        assert kind.__module__ == errors.__name__
        assert re.search(rf"-- {kind.__name__}\b", errors.__doc__ or ""), f"{kind.__name__} is not in the tree"
        if hasattr(kind, "code"):
            documented = "".join(codes for status, codes in told if status == kind.status)
            assert f"`{kind.code}`" in documented, f"{kind.status} {kind.code} is not in {PAGE.name}"


def test_nothing_that_a_client_sent_comes_back_from_errors_that_are_not_ours() -> None:
    wrong = [{"loc": ("body", "input"), "msg": "Field required", "type": "missing", "input": SECRET}]
    refusal = as_refusal(RequestValidationError(wrong))
    assert isinstance(refusal, InvalidInput)
    assert refusal.errors == (FieldError("input", "Field required", "missing"),)
    unforeseen = as_refusal(RuntimeError(SECRET))
    assert isinstance(unforeseen, ServerFailed)
    for each in (refusal, unforeseen):
        assert SECRET.encode() not in error_response(each, "id").body


@pytest.mark.parametrize(
    ("error", "status", "code", "openai", "headers"),
    [
        (Busy("later", 7), 503, "SERVICE_UNAVAILABLE", "server_error", {"retry-after": "7"}),
        (
            TooManyTokens("less", retry_after=None, headers={"X-RateLimit-Remaining-Tokens": "0"}),
            429,
            "RATE_TOKEN_LIMIT_EXCEEDED",
            "rate_limit_error",
            {"x-ratelimit-remaining-tokens": "0"},
        ),
        (HTTPException(404, "nothing here"), 404, "RESOURCE_NOT_FOUND", "invalid_request_error", {}),
        (
            HTTPException(405, headers={"Allow": "POST"}),
            405,
            "METHOD_NOT_ALLOWED",
            "invalid_request_error",
            {"allow": "POST"},
        ),
        (HttpError(418, "tea"), 418, "REQUEST_INVALID", "invalid_request_error", {}),
    ],
)  # fmt: skip
def test_an_exception_becomes_one_body(
    error: Exception, status: int, code: str, openai: str, headers: dict[str, str]
) -> None:
    answer = error_response(as_refusal(error), "the-id", {"Connection": "close"})
    content = json.loads(bytes(answer.body))
    assert (answer.status_code, content["code"], content["error"]["code"]) == (status, code, code)
    assert content["message"] == content["detail"] == content["error"]["message"]
    assert (content["request_id"], content["error"]["type"], content["error"]["param"]) == ("the-id", openai, None)
    assert {name: answer.headers[name] for name in headers} == headers
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", TAKES_A_BODY)
def test_every_route_answers_errors_alike(client: httpx.Client, path: str) -> None:
    refused = {
        405: client.get(path),
        413: client.post(path, content=b"x" * 500_000, headers={"Content-Type": "application/json"}),
        422: client.post(path, content=b"{", headers={"Content-Type": "application/json"}),
        404: client.post(f"{path}/nothing", json={}),
    }
    for status, answer in refused.items():
        assert answer.status_code == status
        content = answer.json()
        assert set(content) == (BODY | {"errors"} if status == 422 else BODY)
        assert isinstance(content["detail"], str)
        assert content["request_id"] == answer.headers["X-Request-Id"]
