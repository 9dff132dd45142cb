"""Fields of one meaning and several names, of which a body may hold more than one.

Jina's ``truncate`` is Voyage's ``truncation``, ``dimensions`` is ``output_dimension``, and ``task`` comes of Voyage's
and Cohere's ``input_type``. Names that say the same are no contradiction; of others, none is chosen in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from babelclip.serve.errors import FieldError, InvalidInput

T = TypeVar("T")

INPUT_TASKS = {
    "query": "retrieval.query",
    "document": "retrieval.passage",
    "passage": "retrieval.passage",
    "search_query": "retrieval.query",
    "search_document": "retrieval.passage",
    "classification": "classification",
    "clustering": "separation",
}
"""``input_type`` as Voyage (the first two), NVIDIA (passage) and Cohere (the others) name it -> Jina's task."""


def one_of(named: Mapping[str, T | None]) -> T | None:
    """What one or several names of a field say; None where none is sent.

    Args:
        named: what was sent by each name, as it is meant: ``"64"`` and 64 have become one thing before.

    Raises:
        InvalidInput: two of them differ.
    """
    sent = {name: value for name, value in named.items() if value is not None}
    if not sent:
        return None
    (first, value), *others = sent.items()
    for name, other in others:
        if other != value:
            message = f"it differs from {first}, another name of the same: send one of them"
            raise InvalidInput([FieldError(name, message)])
    return value


def task_of(input_type: str | None) -> str | None:
    """The task that an ``input_type`` means; None where none is sent.

    Raises:
        InvalidInput: nobody knows such a type.
    """
    if not input_type:
        return None
    if input_type not in INPUT_TASKS:
        known = ", ".join(INPUT_TASKS)
        raise InvalidInput([FieldError("input_type", f"expected one of {known}, found {input_type[:80]!r}")])
    return INPUT_TASKS[input_type]
