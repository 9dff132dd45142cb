"""What a database gives back is looked at before anybody gets it: a vector that can be none is no answer.

Stores without checksums of our own notice by this alone that something has changed: values of another type, vectors of
another width, with numbers that are none, or not of length one. Rows that are lost as a whole are not noticed so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from babelclip.decode import parse_json
from babelclip.errors import StoreError
from babelclip.search.open_store import index_option
from babelclip.search.store import ROUNDING, Known, Row, Scored, is_damaged


def damaged_index(url: str, what: object) -> StoreError:
    """The error of an index of which something can not have been written so, with the way out."""
    return StoreError(
        f"the index {url} is damaged: {what}. Nothing is answered from it. Take away what is stored there (the photos "
        f"are elsewhere and stay) and index your folders anew: babelclip index FOLDER{index_option(url)}"
    )


def from_json(text: Any) -> Any:
    """Metadata of a store that keeps them as text; None where it is no JSON, which ``read_known`` refuses."""
    try:
        return parse_json(text)
    except (TypeError, ValueError, RecursionError):
        return None


def read_known(url: str, id: Any, kind: Any, metadata: Any) -> Known:
    """A row without its vector.

    Raises:
        StoreError: nobody can have written it so.
    """
    if not (isinstance(id, str) and id and isinstance(kind, str) and isinstance(metadata, Mapping)):
        raise damaged_index(
            url, f"a row {id!r} of the kind {kind!r} has metadata of the type {type(metadata).__name__}"
        )
    for field, value in metadata.items():
        if not isinstance(value, str | int | float):
            raise damaged_index(url, f"row {id!r} has {value!r} as its {field}")
    return Known(id, kind, dict(metadata))


def read_row(url: str, dim: int, id: Any, kind: Any, metadata: Any, vector: Any) -> Row:
    """A row with its vector (E,).

    Raises:
        StoreError: nobody can have written it so.
    """
    known = read_known(url, id, kind, metadata)
    row = unchecked_row(known.id, known.kind, known.metadata, vector)
    if row.vector.shape != (dim,) or is_damaged(row.vector):
        raise damaged_index(url, f"the vector of row {known.id!r} is none of width {dim} and length one")
    return row


def unchecked_row(id: Any, kind: Any, metadata: Any, vector: Any) -> Row:
    """A row as it is stored, for ``verify``, which lists what is wrong with it."""
    try:
        return Row(id, kind, np.asarray(vector, np.float32), metadata)
    except (TypeError, ValueError):
        return Row(id, kind, np.empty(0, np.float32), metadata)


def read_scored(url: str, id: Any, kind: Any, metadata: Any, score: Any) -> Scored:
    """A row that was found.

    Raises:
        StoreError: nobody can have written it so, or its score is no cosine.
    """
    known = read_known(url, id, kind, metadata)
    if not (isinstance(score, float | int) and math.isfinite(score) and abs(score) <= 1 + ROUNDING):
        raise damaged_index(url, f"row {known.id!r} gives {score}, which is no cosine")
    return Scored(known.id, known.kind, known.metadata, float(score))
