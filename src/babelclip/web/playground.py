"""Try the vectors: texts and images in, how alike they are out, with the price and the request that gives the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, InputError, ItemsError
from babelclip.prepare.open_image import stated_size
from babelclip.search.index_encoder import IndexEncoder
from babelclip.serve.costs import Usage, image_tokens
from babelclip.vectors import similarity
from babelclip.web.curl import Api, ImageFile, curl_line

CountTokens = Callable[[Sequence[str]], int]
Words = Mapping[str, str]

MOST = 24
"""Texts and images together."""
SHADES = 10
"""Steps of color in the table, from the least to the most alike."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A text, or an image with its name."""

    name: str
    image: bytes | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """What came out."""

    things: tuple[Thing, ...]
    vectors: Vectors  # (N, dim)
    likeness: Vectors  # (N, N)
    usage: Usage | None  # None where the model's tokens cannot be counted here
    request: str  # a shell command


def try_things(
    encoder: IndexEncoder, things: Sequence[Thing], dim: int, count_tokens: CountTokens | None, api: Api
) -> Tried:
    """Embed and compare.

    Raises:
        InputError: a text or image that cannot be embedded.
        ConfigError: an option that the model does not have.
    """
    if not things or len(things) > MOST:
        raise ConfigError(f"give from 1 to {MOST} texts and images")
    vectors = np.empty((len(things), dim), np.float32)
    texts = [place for place, thing in enumerate(things) if thing.image is None]
    images = [place for place, thing in enumerate(things) if thing.image is not None]
    try:
        if texts:
            vectors[texts] = encoder.encode_text([things[place].name for place in texts], dim=dim)
        if images:
            vectors[images] = encoder.encode_image([things[place].image or b"" for place in images], dim=dim)
    except ItemsError as error:
        raise InputError("; ".join(error.failures.values())) from error
    usage = None
    if count_tokens is not None:
        sizes = [stated_size(things[place].image or b"") for place in images]
        usage = Usage(
            text_tokens=count_tokens([things[place].name for place in texts]),
            image_tokens=sum(image_tokens(width, height) for width, height in sizes),
        )
    items = [thing.name if thing.image is None else ImageFile(thing.name) for thing in things]
    request = curl_line(api, encoder.name, items, dim)
    return Tried(tuple(things), vectors, similarity(vectors, vectors), usage, request)


def render_tried(tried: Tried, words: Words) -> str:
    """The table, the price, the request and the vectors."""
    names = [thing.name if thing.image is None else f"[{thing.name}]" for thing in tried.things]
    heads = "".join(f'<th scope="col" dir="auto">{escape(_short(name))}</th>' for name in names)
    others = tried.likeness[~np.eye(len(names), dtype=bool)]
    low, high = (float(others.min()), float(others.max())) if len(others) else (0.0, 1.0)
    rows = "".join(
        f'<tr><th scope="row" dir="auto">{escape(_short(name))}</th>'
        + "".join(f'<td class="shade{_shade(value, low, high)}">{value:.3f}</td>' for value in line)
        + "</tr>\n"
        for name, line in zip(names, tried.likeness, strict=True)
    )
    vectors = "".join(
        f"<details><summary dir='auto'>{escape(_short(name))}</summary>"
        f"{_scrolled(json.dumps([round(float(number), 6) for number in vector]), name)}</details>\n"
        for name, vector in zip(names, tried.vectors, strict=True)
    )
    price = ""
    if tried.usage is not None:
        price = f"<p>{escape(words['price'].format(total=f'{tried.usage.total:,}', **_parts(tried.usage)))}</p>\n"
    return f"""<div class="scroll" role="region" aria-label="{escape(words["likeness"])}" tabindex="0"><table>
<caption>{escape(words["likeness"])}</caption>
<thead><tr><td></td>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div>
{price}<h2>{escape(words["request"])}</h2>
{_scrolled(tried.request, words["request"])}
<h2>{escape(words["vectors"])}</h2>
{vectors}"""


def _scrolled(text: str, label: str) -> str:
    """Text that may be longer than its box, which the keyboard must reach to scroll it."""
    return f'<pre role="group" aria-label="{escape(_short(label))}" tabindex="0">{escape(text)}</pre>'


def _parts(usage: Usage) -> dict[str, Any]:
    return {"texts": f"{usage.text_tokens:,}", "images": f"{usage.image_tokens:,}"}


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:38]}…"


def _shade(value: float, low: float, high: float) -> int:
    """Between the least and the most alike of different things."""
    if high <= low:
        return SHADES // 2
    return int(np.clip((value - low) / (high - low), 0, 1) * (SHADES - 1))


def render_playground(
    *, language: str, words: Words, widths: Sequence[int], texts: str, dim: int | None, result: str, problem: str | None
) -> str:
    """The whole page. Texts work without JavaScript; images need it."""
    other = "zh" if language == "en" else "en"
    options = "".join(
        f'<option value="{width}"{" selected" if width == dim else ""}>{width}</option>' for width in sorted(widths)
    )
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(words["playground"])} · babelclip</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/page.css">
<script type="module" src="/static/playground.js"></script>
</head>
<body>
<header>
<h1>{escape(words["playground"])}</h1>
<nav><a href="/?lang={language}">{escape(words["title"])}</a> ·
<a href="/playground?lang={other}" lang="{other}">{escape(words["language"])}</a></nav>
</header>
<main>
<form id="try" action="/playground" method="get" data-failed="{escape(words["failed"])}">
<input type="hidden" name="lang" value="{language}">
<label class="stacked">{escape(words["texts"])}
<textarea id="texts" name="texts" rows="6" dir="auto">{escape(texts)}</textarea></label>
<p class="drop" hidden><label>{escape(words["add_images"])}
<input id="images" type="file" accept="image/*" multiple></label></p>
<ul id="chosen" class="chosen"></ul>
<div class="line">
<label>{escape(words["width"])} <select id="dim" name="dim">{options}</select></label>
<button type="submit">{escape(words["compare"])}</button>
</div>
</form>
<p id="status" role="status">{escape(problem or "")}</p>
<div id="result">{result}</div>
</main>
</body>
</html>
"""
