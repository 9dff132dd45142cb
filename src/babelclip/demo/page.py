"""The demonstration's page: one HTML file with everything inside it, to open from disk or send to somebody.

A file of its own, because it alone knows HTML, and what is found knows none.
"""

from __future__ import annotations

from collections.abc import Mapping

from babelclip.data_uri import to_base64
from babelclip.demo.album import Album
from babelclip.demo.results import AlbumResults
from babelclip.html import render_html

NUM_SHOWN = 5
"""Photos for a query."""


def render_demo(
    album: Album, results: AlbumResults, facts: Mapping[str, object], seconds: float, what_next: str
) -> str:
    """The whole page.

    Args:
        facts: what the encoder says about itself, shown in the footer.
        seconds: how long loading, encoding and ranking took.
        what_next: a command to try with one's own photos.
    """
    return render_html(
        "demo/page.html",
        album=album,
        results=results,
        facts=facts,
        seconds=seconds,
        what_next=what_next,
        num_shown=NUM_SHOWN,
        css_classes={photo.name: f"photo-{number}" for number, photo in enumerate(album.photos)},
        contents={photo.name: to_base64(photo.path.read_bytes()) for photo in album.photos},
    )
