"""Every reason for which a request is turned away.

Each knows its HTTP status, its code (Jina's, where Jina has one) and its headers; ``error_responses`` turns it into an
answer.

    BabelclipError
    `-- Refusal                   carries status, code, headers
        |-- MissingKey            401  AUTH_MISSING_API_KEY
        |-- MalformedKey          401  AUTH_INVALID_FORMAT
        |-- InvalidKey            401  AUTH_INVALID_API_KEY
        |-- InsufficientBalance   403  AUTHZ_INSUFFICIENT_BALANCE
        |-- ForeignPage           403  AUTHZ_ORIGIN_NOT_ALLOWED
        |-- RateExceeded          429  one of the three below; Retry-After says when
        |   |-- TooManyRequests        RATE_REQUEST_LIMIT_EXCEEDED
        |   |-- TooManyTokens          RATE_TOKEN_LIMIT_EXCEEDED
        |   `-- TooManyAtOnce          RATE_CONCURRENCY_LIMIT_EXCEEDED
        |-- UnknownModel          400  INPUT_MODEL_NOT_FOUND
        |-- TooLong               400  INPUT_TOKEN_LIMIT_EXCEEDED
        |-- InvalidInput          422  VALIDATION_ERROR           carries the fields that are wrong
        |-- TooLarge              413  INPUT_SIZE_LIMIT_EXCEEDED
        |-- BodyTooSlow           408  REQUEST_TIMEOUT
        |-- AnswerTooSlow         504  SERVICE_TIMEOUT
        |-- Busy                  503  SERVICE_UNAVAILABLE        Retry-After says when
        |-- ModelFailed           500  INTERNAL_ERROR             the model failed at an item that nothing is wrong with
        |-- ServerFailed          500  INTERNAL_ERROR             what nobody has foreseen
        `-- HttpError             any  of HTTP itself: no such path, no such method

Their messages go to the client as they are, so none of them repeats a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from babelclip.errors import BabelclipError

# RFC 9110, 11.6.1: every 401 names the way to authenticate.
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Refusal(BabelclipError):
    """A request that is turned away; ``headers`` are sent with the answer."""

    status: int
    code: str

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


class ForeignPage(Refusal):
    """A web page elsewhere has had a browser send it, to an API without keys."""

    status, code = 403, "AUTHZ_ORIGIN_NOT_ALLOWED"

    def __init__(self, page: str) -> None:
        super().__init__(
            f"a web page of {page[:100]!r} had a browser send this, and a server without keys takes nothing from pages "
            "that are not its own: the operator allows one with --cors-origin"
        )


class RateExceeded(Refusal):
    """Too much in too short a time.

    Attributes:
        retry_after: whole seconds until the same request can pass if nothing else is sent; None: never as it is.
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


class UnknownModel(Refusal):
    """A model that is not served; the message lists those that are."""

    status, code = 400, "INPUT_MODEL_NOT_FOUND"


class TooLong(Refusal):
    """A text of more tokens than the model reads, and ``truncate`` was not asked for."""

    status, code = 400, "INPUT_TOKEN_LIMIT_EXCEEDED"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a body that is wrong."""

    field: str  # as a path: input[3].image
    message: str
    type: str = "value_error"  # as pydantic names kinds of errors


class InvalidInput(Refusal):
    """A body that does not say what is to be done."""

    status, code = 422, "VALIDATION_ERROR"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first.field}: {first.message}{more}")
        self.errors = tuple(errors)


class TooLarge(Refusal):
    """A body, a list or an image over a limit."""

    status, code = 413, "INPUT_SIZE_LIMIT_EXCEEDED"


class BodyTooSlow(Refusal):
    """A body that did not come in time."""

    status, code = 408, "REQUEST_TIMEOUT"

    def __init__(self) -> None:
        super().__init__("the body did not come in time; send it faster or in smaller requests")


class AnswerTooSlow(Refusal):
    """A request that takes longer than one may."""

    status, code = 504, "SERVICE_TIMEOUT"

    def __init__(self) -> None:
        super().__init__("it takes longer than this server lets a request take; send less in one")


class Busy(Refusal):
    """Too much is waiting, or the model is being started anew."""

    status, code = 503, "SERVICE_UNAVAILABLE"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, {"Retry-After": str(retry_after)})
        self.retry_after = retry_after


class ModelFailed(Refusal):
    """The model could not embed an item, and it is not known to be the item's fault."""

    status, code = 500, "INTERNAL_ERROR"


class ServerFailed(Refusal):
    """Something that nobody has foreseen; the log has its kind and its way, and the client only its request's id."""

    status, code = 500, "INTERNAL_ERROR"

    def __init__(self) -> None:
        super().__init__("the server failed; its log knows more under this id")


class HttpError(Refusal):
    """What HTTP itself refuses."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers)
        self.status = status
        self.code = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(status, "REQUEST_INVALID")
