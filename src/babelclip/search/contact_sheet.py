"""Hits to look at: one HTML file with everything inside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from babelclip.data_uri import image_uri
from babelclip.errors import ImageError
from babelclip.search.index import Hit
from babelclip.search.thumbnail import thumbnail

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; padding: 0 1rem; max-width: 80rem }
h1 { font-size: 1.4rem }
ol { list-style: none; padding: 0; display: grid; gap: 1rem }
ol { grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)) }
ol + ol { margin-top: 2rem; padding-top: 2rem; border-top: 3px double }
li { border: 1px solid color-mix(in srgb, currentColor 20%, transparent); border-radius: .5rem; overflow: hidden }
img { display: block; width: 100%; height: 12rem; object-fit: contain }
p { margin: .5rem .75rem; overflow-wrap: anywhere }
.soft { opacity: .7; font-size: .85rem }
"""


def render_sheet(title: str, groups: Sequence[Sequence[Hit]], facts: str) -> str:
    """A page of hits, best first, in one group or several; what cannot be shown says why."""
    lists = "\n".join("<ol>\n" + "\n".join(map(_cell, hits)) + "\n</ol>" for hits in groups)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1 dir="auto">{escape(title)}</h1>
{lists}
<p class="soft">{escape(facts)}</p>
</body>
</html>
"""


def _cell(hit: Hit) -> str:
    path = Path(hit.path)
    place = f"{escape(hit.path)}"
    moment = f" · {escape(str(hit.metadata['taken'])[:10])}" if "taken" in hit.metadata else ""
    chance = "" if hit.chance is None else f" · {hit.chance:.0%}"
    page = f" · page {hit.metadata['page']}" if "page" in hit.metadata else ""
    return (
        f"<li>{_picture(hit, path)}<p>{hit.rank}. {escape(path.name)}{page}</p>"
        f'<p class="soft">{hit.score:.3f}{chance}{moment}<br>{place}</p></li>'
    )


def _picture(hit: Hit, path: Path) -> str:
    if hit.kind == "text":
        return f'<p dir="auto">{escape(str(hit.metadata.get("text", ""))[:400])}</p>'
    try:
        source = image_uri(thumbnail(hit.kind, hit.metadata), "webp")
    except ImageError as error:
        return f"<p>{escape(str(error))}</p>"
    return f'<img alt="{escape(path.name)}" src="{source}">'
