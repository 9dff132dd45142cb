"""Hits to look at: one HTML file with everything inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.data_uri import image_uri
from babelclip.errors import ImageError
from babelclip.html import render_html
from babelclip.search.index import Hit
from babelclip.search.thumbnail import thumbnail

MAX_SNIPPET = 400
"""Characters of a text that are shown."""


def render_sheet(title: str, groups: Sequence[Sequence[Hit]], facts: str) -> str:
    """A page of hits, best first, in one group or several; what cannot be shown says why."""
    cells = [[_cell(hit) for hit in hits] for hits in groups]
    return render_html("search/contact_sheet.html", title=title, groups=cells, facts=facts)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A hit as the template shows it: one of picture, text and problem."""

    hit: Hit
    picture: str = ""  # a data URI
    text: str = ""
    problem: str = ""  # why there is no picture

    @property
    def name(self) -> str:
        return Path(self.hit.path).name

    @property
    def heading(self) -> str:
        page = f" · page {self.hit.metadata['page']}" if "page" in self.hit.metadata else ""
        return f"{self.hit.rank}. {self.name}{page}"

    @property
    def facts(self) -> str:
        """Score, chance and day."""
        chance = "" if self.hit.chance is None else f" · {self.hit.chance:.0%}"
        day = f" · {str(self.hit.metadata['taken'])[:10]}" if "taken" in self.hit.metadata else ""
        return f"{self.hit.score:.3f}{chance}{day}"


def _cell(hit: Hit) -> _Cell:
    if hit.kind == "text":
        return _Cell(hit, text=str(hit.metadata.get("text", ""))[:MAX_SNIPPET])
    try:
        return _Cell(hit, picture=image_uri(thumbnail(hit.kind, hit.metadata), "webp"))
    except ImageError as error:
        return _Cell(hit, problem=str(error))
