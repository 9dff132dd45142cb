"""Requests that are refused because of what they ask, or because the server cannot do it just now.

    Refusal
    |-- UnknownModel    400  INPUT_MODEL_NOT_FOUND
    |-- TooLong         400  INPUT_TOKEN_LIMIT_EXCEEDED
    |-- InvalidInput    422  VALIDATION_ERROR               carries the places that are wrong
    |-- TooLarge        413  INPUT_SIZE_LIMIT_EXCEEDED
    |-- ModelFailed     500  INTERNAL_ERROR                 the model failed at an item that nothing is wrong with
    `-- Busy            503  SERVICE_UNAVAILABLE            Retry-After says when

What is refused before the application sees it (a body too large or too slow, an answer that takes too long) is for
the door.

Codes are Jina's where Jina has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from babelclip.serve.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Wrong:
    """One place in a body that is wrong."""

    field: str  # as a path: input[3].image
    message: str
    type: str = "value_error"  # as pydantic names kinds of errors


class UnknownModel(Refusal):
    """A model that is not served; the message lists those that are."""

    status, code = 400, "INPUT_MODEL_NOT_FOUND"


class TooLong(Refusal):
    """A text of more tokens than the model reads, and ``truncate`` was not asked for."""

    status, code = 400, "INPUT_TOKEN_LIMIT_EXCEEDED"


class InvalidInput(Refusal):
    """A body that does not say what is to be done."""

    status, code = 422, "VALIDATION_ERROR"

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        first = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        super().__init__(f"{first.field}: {first.message}{more}")
        self.wrong = tuple(wrong)


class TooLarge(Refusal):
    """A body, a list or an image over a limit."""

    status, code = 413, "INPUT_SIZE_LIMIT_EXCEEDED"


class ModelFailed(Refusal):
    """The model could not embed an item, and it is not known to be the item's fault."""

    status, code = 500, "INTERNAL_ERROR"


class Busy(Refusal):
    """Too much is waiting, or the model is being started anew."""

    status, code = 503, "SERVICE_UNAVAILABLE"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, {"Retry-After": str(retry_after)})
        self.retry_after = retry_after
