"""Fields that change vectors somewhere, on a route that does not have them: refused, or the vectors would be others.

``output_dimension`` at a route that calls it ``dimensions`` would come back as the full width, and int8 as floats that
are read as int8: numbers that mean nothing, and no error. What only tells something (``user``, whatever a program adds)
may pass and is named in a header: ``ignored_fields.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from babelclip.serve.errors import FieldError

_WIDTH = ("dimensions", "output_dimension", "output_dimensionality", "outputDimensionality", "dim", "matryoshka_dim")
_NUMBERS = (
    "embedding_type", "embedding_types", "encoding_type", "encoding_format", "output_dtype", "output_encoding",
    "output_data_type", "embeddingTypes",
)  # fmt: skip
_LENGTH = ("normalized", "normalize", "normalize_embeddings")
_TASK = ("task", "input_type", "inputType", "task_type", "taskType", "prompt", "prompt_name", "instruction")
_CUT = (
    "truncate", "truncation", "truncate_prompt_tokens", "truncation_direction", "truncation_side", "autoTruncate",
    "auto_truncate", "max_tokens", "max_length",
)  # fmt: skip
_KIND = ("late_chunking", "return_multivector", "pooling", "sparse", "embeddings_type")

CHANGES_VECTORS = frozenset((*_WIDTH, *_NUMBERS, *_LENGTH, *_TASK, *_CUT, *_KIND))
"""The names of vendors and of servers that people come from."""
_OFF = ("late_chunking", "return_multivector", "sparse")
"""What is not asked for with ``false``."""


def refused_fields(extra: Mapping[str, object], known: Iterable[str], prefix: str = "") -> list[FieldError]:
    """Of the fields that a route does not have, those that change vectors elsewhere.

    Args:
        extra: the fields and what they say; null, and ``false`` where that is what there is, says nothing.
        known: the fields that the route has, to be named.
        prefix: before the names of fields.
    """
    has = ", ".join(sorted(known))
    return [
        FieldError(
            f"{prefix}{name}", f"it would change the vectors, and is not known here: expected {has}", "extra_forbidden"
        )
        for name, value in extra.items()
        if name in CHANGES_VECTORS and value is not None and not (name in _OFF and value is False)
    ]
