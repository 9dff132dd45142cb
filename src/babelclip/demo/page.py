"""The contact sheet: one HTML file with everything inside it, to open from disk or send to somebody."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from babelclip.data_uri import image_uri
from babelclip.demo.album import HERE, Album, Photo
from babelclip.demo.answer import Answer, Answers, Hit

SHOWN = 5  # photos per query


def render_page(album: Album, answers: Answers, facts: Mapping[str, object], seconds: float, what_next: str) -> str:
    """The whole page.

    Args:
        facts: what the encoder says about itself, shown in the footer.
        seconds: how long loading, encoding and ranking took.
        what_next: a command to try with one's own photos.
    """
    languages = len({answer.query.code for answer in answers.answers})
    asked = len(answers.answers)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>babelclip: {languages} languages, {len(album.photos)} photos</title>
<style>
{(HERE / "page.css").read_text(encoding="utf-8")}
{_photo_rules(album)}
</style>
</head>
<body>
<header>
<h1>Ask in your language, find the photo</h1>
<p>{asked} queries in {languages} languages over {len(album.photos)} photos, answered on this machine in
{seconds:.1f} s, offline. Only pixels are searched: no titles, no tags, no translation.</p>
<p class="soft">The right photo came first for <b>{answers.num_first} of {asked}</b> queries. A green frame marks
the photo that a person would choose; the number is the cosine similarity of query and photo.</p>
</header>
<main>
<ul class="answers">
{"".join(_answer(answer) for answer in answers.answers)}</ul>
<h2>Where it is weak</h2>
<p class="soft">These are asked to show it. Scores also differ from language to language: compare photos within a query,
not queries with each other.</p>
<ul class="answers">
{"".join(_answer(answer) for answer in answers.hard)}</ul>
<h2>Now your own photos</h2>
<p><code>{escape(what_next)}</code></p>
<h2>The photos</h2>
<p class="soft">{escape(album.note)}</p>
<div class="album">
{"".join(_credit(photo) for photo in album.photos)}</div>
</main>
<footer>{escape(" · ".join(f"{name} {value}" for name, value in facts.items()))}</footer>
</body>
</html>
"""


def _photo_rules(album: Album) -> str:
    """One CSS rule per photo, so that each is in the file once however often it is shown."""
    return "\n".join(
        f'.{_css_class(photo)}{{background-image:url("{image_uri(photo.path.read_bytes(), "webp")}")}}'
        for photo in album.photos
    )


def _css_class(photo: Photo) -> str:
    return f"p-{photo.name}"


def _picture(photo: Photo) -> str:
    return f'<span class="photo {_css_class(photo)}" role="img" aria-label="{escape(photo.title)}"></span>'


def _hit(hit: Hit) -> str:
    kind = ' class="right"' if hit.right else ""
    score = f'<span class="score">{hit.score:.3f}</span>'
    return f'<li{kind} title="{escape(hit.photo.title)}">{_picture(hit.photo)}{score}</li>'


def _place(answer: Answer) -> str:
    """Where the right photo came, in words."""
    if answer.rank is None:
        return '<span class="place">no photo fits</span>'
    if answer.rank == 1:
        return '<span class="place first">right photo first</span>'
    return f'<span class="place">right photo at place {answer.rank}</span>'


def _answer(answer: Answer) -> str:
    query = answer.query
    explained = ". ".join(part for part in (query.english, query.why) if part)
    return f"""<li class="answer">
<div class="language"><span>{escape(query.language)}</span>{_place(answer)}</div>
<p class="query" lang="{query.code}" dir="auto">{escape(query.text)}</p>
<p class="gloss soft">{escape(explained)}</p>
<ol class="hits">{"".join(_hit(hit) for hit in answer.hits[:SHOWN])}</ol>
</li>
"""


def _credit(photo: Photo) -> str:
    return (
        f"<figure>{_picture(photo)}<figcaption><b>{escape(photo.title)}</b><br>"
        f'<a href="{escape(photo.source)}">{escape(photo.author)}</a>, '
        f'<a href="{escape(photo.licence_url)}">{escape(photo.licence)}</a></figcaption></figure>\n'
    )
