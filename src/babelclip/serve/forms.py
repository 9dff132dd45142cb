"""The forms in which a vector is sent, and which of them a request means.

Jina calls the field ``embedding_type`` (before that ``encoding_type``), OpenAI ``encoding_format``. OpenAI's client
adds ``encoding_format: base64`` unasked, so Jina's names win where both are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from babelclip.arrays import Vectors
from babelclip.data_uri import to_base64
from babelclip.serve.bad_requests import InvalidInput, Wrong
from babelclip.vectors import finish, quantize

Form = Literal["float", "base64", "binary", "ubinary", "int8", "uint8"]
FORMS: tuple[Form, ...] = get_args(Form)
Asked = str | Sequence[str] | None


def read_forms(embedding_type: Asked, encoding_type: Asked, encoding_format: Asked) -> tuple[tuple[Form, ...], bool]:
    """The forms that are meant, and whether one was named (not a list of them). Raises: InvalidInput."""
    if embedding_type is not None and encoding_type is not None and embedding_type != encoding_type:
        raise InvalidInput([Wrong("embedding_type", "it differs from encoding_type, its older name: send one of them")])
    named = {"embedding_type": embedding_type, "encoding_type": encoding_type, "encoding_format": encoding_format}
    field, asked = next(((k, v) for k, v in named.items() if v is not None), ("embedding_type", "float"))
    is_lone = isinstance(asked, str)
    forms = [asked] if isinstance(asked, str) else list(asked)
    unknown = [form for form in forms if form not in FORMS]
    if unknown or not forms:
        found = ", ".join(repr(form[:40]) for form in unknown) or "an empty list"
        raise InvalidInput([Wrong(field, f"expected one or more of {', '.join(FORMS)}, found {found}")])
    return tuple(dict.fromkeys(forms)), is_lone  # type: ignore[arg-type]


def read_dimensions(asked: int | str | None, most: int, field: str = "dimensions") -> int | None:
    """A width as a number or as a numeric string, which some clients send. Raises: InvalidInput."""
    if asked is None:
        return None
    is_number = isinstance(asked, int) and not isinstance(asked, bool)
    if not is_number and not (isinstance(asked, str) and asked.isascii() and asked.isdigit() and len(asked) <= 9):
        raise InvalidInput([Wrong(field, f"expected a whole number from 1 to {most}", "type_error")])
    if not 1 <= int(asked) <= most:
        raise InvalidInput([Wrong(field, f"expected a whole number from 1 to {most}, found {int(asked)}")])
    return int(asked)


def formed(vector: Vectors, forms: Sequence[Form], *, is_lone: bool, dim: int | None, normalize: bool) -> Any:
    """A raw vector (E,) as it is sent: cut, normalised, in its form; a dictionary by form where several were asked."""
    finished = finish(vector[None], dim, normalize)[0]
    values = {form: _WRITERS[form](finished) for form in forms}
    return values[forms[0]] if is_lone else values


def _base64(vector: Vectors) -> str:
    return to_base64(vector.astype("<f4").tobytes())


_WRITERS: dict[Form, Callable[[Vectors], Any]] = {
    "float": np.ndarray.tolist,
    "base64": _base64,
    "binary": lambda vector: quantize(vector, "binary").tolist(),
    "ubinary": lambda vector: quantize(vector, "ubinary").tolist(),
    "int8": lambda vector: quantize(vector, "int8").tolist(),
    "uint8": lambda vector: quantize(vector, "uint8").tolist(),
}
