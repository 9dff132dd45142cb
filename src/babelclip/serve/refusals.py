"""Requests that are refused because of their key: each error knows its HTTP status, Jina's code and its headers.

    BabelclipError
    `-- Refusal                  carries status, code, headers
        |-- MissingKey           401  AUTH_MISSING_API_KEY
        |-- MalformedKey         401  AUTH_INVALID_FORMAT
        |-- InvalidKey           401  AUTH_INVALID_API_KEY
        |-- InsufficientBalance  403  AUTHZ_INSUFFICIENT_BALANCE
        `-- RateExceeded         429  one of the three below
            |-- TooManyRequests       RATE_REQUEST_LIMIT_EXCEEDED
            |-- TooManyTokens         RATE_TOKEN_LIMIT_EXCEEDED
            `-- TooManyAtOnce         RATE_CONCURRENCY_LIMIT_EXCEEDED

Their messages go to the client as they are, so none of them repeats a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from babelclip.errors import BabelclipError

# RFC 9110, 11.6.1: every 401 names the way to authenticate.
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Refusal(BabelclipError):
    """A request that is refused; ``headers`` are to be sent with the answer."""

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class MissingKey(Refusal):
    """No key was sent."""

    status, code = 401, "AUTH_MISSING_API_KEY"

    def __init__(self) -> None:
        super().__init__("No API key was sent; expected the header Authorization: Bearer <key>", _CHALLENGE)


class MalformedKey(Refusal):
    """The header holds something else than a key."""

    status, code = 401, "AUTH_INVALID_FORMAT"

    def __init__(self) -> None:
        super().__init__("The header Authorization is malformed; expected Authorization: Bearer <key>", _CHALLENGE)


class InvalidKey(Refusal):
    """A key that is unknown or revoked."""

    status, code = 401, "AUTH_INVALID_API_KEY"

    def __init__(self, message: str = "This API key is not valid") -> None:
        super().__init__(message, _CHALLENGE)


class InsufficientBalance(Refusal):
    """The prepaid tokens do not cover the request."""

    status, code = 403, "AUTHZ_INSUFFICIENT_BALANCE"


class RateExceeded(Refusal):
    """Too much in too short a time.

    Attributes:
        retry_after: whole seconds until the same request can pass if nothing else is sent; ``None``: never as it is.
    """

    status = 429

    def __init__(self, message: str, *, retry_after: int | None, headers: Mapping[str, str]) -> None:
        wait = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(message, {**headers, **wait})
        self.retry_after = retry_after


class TooManyRequests(RateExceeded):
    """More requests in a minute than the key may send."""

    code = "RATE_REQUEST_LIMIT_EXCEEDED"


class TooManyTokens(RateExceeded):
    """More tokens in a minute than the key may use."""

    code = "RATE_TOKEN_LIMIT_EXCEEDED"


class TooManyAtOnce(RateExceeded):
    """More requests under way at the same time than the key may have."""

    code = "RATE_CONCURRENCY_LIMIT_EXCEEDED"
