"""The playground as HTML. Texts work without JavaScript; images need it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from babelclip.html import render_html
from babelclip.web.locale import Locale
from babelclip.web.playground import Comparison

NUM_SHADES = 10
"""Steps of color in the table, from the least to the most alike."""
_MAX_LABEL = 40
"""Characters of a text that are shown to tell it from others."""


def render_playground(
    *,
    locale: Locale,
    widths: Sequence[int],
    texts: str,
    dim: int,
    comparison: Comparison | None,
    problem: str | None,
) -> str:
    """The whole page.

    Args:
        locale: its language.
        widths: of vectors, to choose from.
        texts: what stands in the field, a text a line.
        dim: the width that is chosen.
        comparison: what came of the texts; None where nothing was asked.
        problem: what went wrong, where something did.
    """
    return render_html(
        "web/templates/playground.html",
        t=locale,
        widths=sorted(widths),
        texts=texts,
        dim=dim,
        problem=problem or "",
        **({"is_compared": False} if comparison is None else _compared(comparison)),
    )


def render_comparison(comparison: Comparison, locale: Locale) -> str:
    """The table, the price, the request and the vectors."""
    return render_html("web/templates/comparison.html", t=locale, **_compared(comparison))


def _compared(comparison: Comparison) -> dict[str, object]:
    """What the template of a comparison is given."""
    labels = [_short(item.label) for item in comparison.items]
    vectors = [json.dumps([round(float(number), 6) for number in vector]) for vector in comparison.vectors]
    shades = _shades(comparison)
    rows = [list(zip(*row, strict=True)) for row in zip(comparison.cosines, shades, strict=True)]
    return {
        "is_compared": True,
        "labels": labels,
        "rows": list(zip(labels, rows, strict=True)),
        "usage": comparison.usage,
        "request": comparison.request,
        "vectors": list(zip(labels, vectors, strict=True)),
    }


def _short(label: str) -> str:
    return label if len(label) <= _MAX_LABEL else f"{label[: _MAX_LABEL - 2]}…"


def _shades(comparison: Comparison) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """(N, N), each from 0 to ``NUM_SHADES`` - 1: between the least and the most alike of different items."""
    cosines = comparison.cosines
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    low, high = (float(others.min()), float(others.max())) if len(others) else (0.0, 1.0)
    if high <= low:
        return np.full(cosines.shape, NUM_SHADES // 2)
    return (np.clip((cosines - low) / (high - low), 0, 1) * (NUM_SHADES - 1)).astype(np.int64)
