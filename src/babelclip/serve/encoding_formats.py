"""The formats in which a vector is sent, and which of them a request means.

Jina calls the field ``embedding_type`` (before that ``encoding_type``), OpenAI ``encoding_format``. OpenAI's client
adds ``encoding_format: base64`` unasked, so Jina's names win where both are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.data_uri import to_base64
from babelclip.serve.errors import FieldError, InvalidInput
from babelclip.vectors import finish, quantize

EncodingFormat = Literal["float", "base64", "binary", "ubinary", "int8", "uint8"]
FORMATS: tuple[EncodingFormat, ...] = get_args(EncodingFormat)
RequestedFormats = str | Sequence[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How vectors are written into an answer."""

    formats: tuple[EncodingFormat, ...] = ("float",)
    by_format: bool = False  # a dictionary, because a list of formats was asked for
    dim: int | None = None
    normalize: bool = True
    as_bytes: bool = False  # Voyage's way: base64 of the numbers of the one format, whichever it is

    def encode(self, raw: Vectors) -> Any:
        """A raw vector (E,) cut, normalized, and in its format or formats."""
        vector = finish(raw[None], self.dim, self.normalize)[0]
        if self.as_bytes:
            return to_base64(typed(vector, self.formats[0]).tobytes())
        if not self.by_format:
            return _ENCODERS[self.formats[0]](vector)
        return {name: _ENCODERS[name](vector) for name in self.formats}


def read_formats(
    embedding_type: RequestedFormats, encoding_type: RequestedFormats = None, encoding_format: RequestedFormats = None
) -> tuple[tuple[EncodingFormat, ...], bool]:
    """The formats that are meant, and whether they were named as a list.

    Raises:
        InvalidInput: a format that is none, no format at all, or two names of the field that differ.
    """
    if embedding_type is not None and encoding_type is not None and embedding_type != encoding_type:
        message = "it differs from encoding_type, its older name: send one of them"
        raise InvalidInput([FieldError("embedding_type", message)])
    named = {"embedding_type": embedding_type, "encoding_type": encoding_type, "encoding_format": encoding_format}
    field, asked = next(((k, v) for k, v in named.items() if v is not None), ("embedding_type", "float"))
    formats = [asked] if isinstance(asked, str) else list(asked)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        found = ", ".join(repr(name[:40]) for name in unknown) or "an empty list"
        raise InvalidInput([FieldError(field, f"expected one or more of {', '.join(FORMATS)}, found {found}")])
    return tuple(dict.fromkeys(formats)), not isinstance(asked, str)  # type: ignore[arg-type]


def read_encoding_format(dtype: str, encoding_format: RequestedFormats) -> bool:
    """Whether numbers of Voyage's ``output_dtype`` are sent as base64 of their bytes.

    Raises:
        InvalidInput: ``encoding_format`` names other numbers.
    """
    if encoding_format not in (None, "float", "base64", dtype):
        message = f"it differs from output_dtype, {dtype}: send float or base64 beside it, or one of the two"
        raise InvalidInput([FieldError("encoding_format", message)])
    return encoding_format == "base64"


def typed(vector: Vectors, name: str) -> NDArray[Any]:
    """A vector of length one as numbers of a format, in the byte order that is sent."""
    return vector.astype("<f4") if name == "float" else quantize(vector, name)  # type: ignore[arg-type]


def read_dimensions(asked: int | str | None, max_dim: int, field: str = "dimensions") -> int | None:
    """A width as a number or as a numeric string, which some clients send.

    Raises:
        InvalidInput: it is no whole number, or not one from 1 to ``max_dim``.
    """
    if asked is None:
        return None
    is_number = isinstance(asked, int) and not isinstance(asked, bool)
    if not is_number and not (isinstance(asked, str) and asked.isascii() and asked.isdigit() and len(asked) <= 9):
        raise InvalidInput([FieldError(field, f"expected a whole number from 1 to {max_dim}", "type_error")])
    if not 1 <= int(asked) <= max_dim:
        message = f"expected a whole number from 1 to {max_dim}, found {int(asked)}"
        raise InvalidInput([FieldError(field, message)])
    return int(asked)


_ENCODERS: dict[EncodingFormat, Callable[[Vectors], Any]] = {
    "float": np.ndarray.tolist,
    "base64": lambda vector: to_base64(vector.astype("<f4").tobytes()),
    "binary": lambda vector: quantize(vector, "binary").tolist(),
    "ubinary": lambda vector: quantize(vector, "ubinary").tolist(),
    "int8": lambda vector: quantize(vector, "int8").tolist(),
    "uint8": lambda vector: quantize(vector, "uint8").tolist(),
}
