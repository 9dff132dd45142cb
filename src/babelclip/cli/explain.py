"""``babelclip explain``: where in an image a text is seen."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from babelclip.atomic_write import write_bytes
from babelclip.cli.options import JsonOption, ModelOptions
from babelclip.cli.plain_output import on_one_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from babelclip.prepare.open_image import ImageLimits


def explain(
    image: Path,
    query: Annotated[list[str], Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Path | None = None,
    page: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    cells: Annotated[int, Parameter(validator=Number(gte=2, lte=24))] = 8,
    model: ModelOptions = ModelOptions(),
    json_lines: JsonOption = False,
) -> int:
    """Paint where in an image a text is seen: what carries the score is warm.

    babelclip explain photo.jpg a dog

    Parts of the image are covered one after the other; where the cosine falls, the text was seen.

    Args:
        image: An image file, or a PDF document with --page.
        query: A text, or several parts as for babelclip search.
        out: Where to write the result: a PNG; the image's name (and page) with -where.png, in this folder when
            left out.
        page: Which page of a PDF document; the first is 1.
        cells: Into how many parts each side is cut; more is finer and slower.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object with the numbers.
    """
    from babelclip.cli.usage_errors import refuse_flags
    from babelclip.explain.occlusion import draw_heat, where_seen
    from babelclip.search.open_photo import open_page
    from babelclip.search.query import Query, query_vector

    refuse_flags(query, "explain")
    target = out or Path(f"{_short(image.stem)}{'' if page is None else f'-page{page}'}-where.png")
    opened = _opened(image, model.image_limits) if page is None else open_page(image, page)
    encoder = model.open()
    seen = where_seen(encoder, opened, query_vector(encoder, Query.parse(query)), cells)
    write_bytes(target, draw_heat(seen))
    if json_lines:
        heat = [[round(float(value), 5) for value in row] for row in seen.heat]
        print(
            json.dumps(
                {"image": str(image), "cosine": round(seen.cosine, 5), "heat": heat, "png": str(target)}
                | ({} if page is None else {"page": page})
            )
        )
    else:
        where = f"{image}" if page is None else f"{image} page {page}"
        print(on_one_line(f"{where}: cosine {seen.cosine:.3f}; painted: {target}"))
    return 0


def _opened(image: Path, limits: ImageLimits) -> Image:
    """The photo as it is shown; of a damaged one it says so."""
    import warnings

    from babelclip.errors import DamagedImageWarning
    from babelclip.search.open_photo import open_shown

    picture = open_shown(image, limits=limits)
    if picture.damage is not None:
        warnings.warn(f"{image}: {picture.damage}", DamagedImageWarning, stacklevel=2)
    return picture.image


def _short(stem: str) -> str:
    """As much of a file's name as leaves room for what is added; file systems take 255 bytes."""
    whole = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(os.fsencode(stem)[:200])  # no half letter
    return os.fsdecode(whole.encode("utf-8", "surrogateescape"))
