"""The page as HTML: complete without JavaScript, which only makes it quicker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from urllib.parse import urlencode

from babelclip.search.index import KINDS, Hit
from babelclip.web.asked import MOST, PAGE, Asked
from babelclip.web.filling import Share

Words = Mapping[str, str]


def render_page(
    asked: Asked,
    hits: Sequence[Hit],
    *,
    language: str,
    words: Words,
    folders: Sequence[str],
    count: int,
    share: Share | None = None,
    problem: str | None = None,
) -> str:
    """The whole page.

    Args:
        share: how far indexing is, where it runs beside the page.
    """
    other = "zh" if language == "en" else "en"
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(asked.text or words["title"])} · babelclip</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/page.css">
<script type="module" src="/static/page.js"></script>
</head>
<body>
<a class="skip" href="#results">{escape(words["skip"])}</a>
<header>
<h1><a href="/">{escape(words["title"])}</a></h1>
<p id="indexed"{"" if share is None else " data-filling"}>{escape(indexed_line(words, count, share))}</p>
<a class="language" href="{escape(address(asked, lang=other))}" lang="{other}">{escape(words["language"])}</a>
</header>
<main>
{_form(asked, words, language, folders)}
<p id="status" role="status">{escape(problem or status_line(asked, hits, words, count, share))}</p>
<ol id="results" class="hits">
{"".join(render_hit(hit, asked, words) for hit in hits)}</ol>
{_more(asked, hits, words)}
</main>
<footer>{escape(words["private"])}
<a href="/playground?lang={language}">{escape(words["playground"])}</a></footer>
{_lightbox(words)}
</body>
</html>
"""


def address(asked: Asked, **changes: object) -> str:
    """The page's address for a search, with changes to it."""
    named = {"q": asked.text, "like": asked.like, "after": asked.after, "before": asked.before}
    named |= {"in": asked.folder, "kind": asked.kind, "start": str(asked.start or "")}
    named |= {name: str(value) for name, value in changes.items()}
    return "/?" + urlencode({name: value for name, value in named.items() if value})


def render_hit(hit: Hit, asked: Asked, words: Words) -> str:
    """One cell of the results: a link to what is similar, so that it works without JavaScript."""
    name = PurePath(hit.path).name
    similar = address(Asked(like=hit.id, folder=asked.folder, kind=asked.kind))
    told, score = _scores(hit, words)
    taken = str(hit.metadata.get("taken", ""))
    facts = [fact for fact in (taken[:10], _page(hit, words)) if fact]
    return (
        f'<li class="{hit.kind}"><a href="{escape(similar)}" data-id="{escape(hit.id)}" data-kind="{hit.kind}" '
        f'data-path="{escape(hit.path)}" data-score="{escape(score)}" data-taken="{escape(taken)}">'
        f'{_picture(hit)}<span class="name" dir="auto">{escape(name)}</span>'
        f'<span class="facts">{escape(" · ".join([told, *facts] if told else facts))}</span></a></li>\n'
    )


def _scores(hit: Hit, words: Words) -> tuple[str, str]:
    """What a cell says of how well a hit fits, and what the lightbox says."""
    if hit.score != hit.score:  # not a number where nothing was asked
        return "", ""
    cosine = f"{words['score']} {hit.score:.3f}"
    if hit.chance is None:
        return f"{hit.score:.3f}", cosine
    return f"{hit.chance:.0%}", f"{words['chance'].format(chance=f'{hit.chance:.0%}')} · {cosine}"


def _page(hit: Hit, words: Words) -> str:
    return words["page_number"].format(number=hit.metadata["page"]) if "page" in hit.metadata else ""


def _picture(hit: Hit) -> str:
    """Without words of its own: the name stands below it, and would be read out twice."""
    if hit.kind == "text":
        return f'<span class="words" dir="auto">{escape(str(hit.metadata.get("text", "")))}</span>'
    return f'<img src="/thumbnail/{escape(hit.id)}" alt="" loading="lazy" decoding="async">'


def _form(asked: Asked, words: Words, language: str, folders: Sequence[str]) -> str:
    options = "".join(
        f'<option value="{escape(folder)}"{" selected" if folder == asked.folder else ""}>{escape(folder)}</option>'
        for folder in folders
    )
    kinds = "".join(
        f'<option value="{kind}"{" selected" if kind == asked.kind else ""}>{escape(words[kind])}</option>'
        for kind in KINDS
    )
    opened = " open" if asked.after or asked.before or asked.folder or asked.kind else ""
    return f"""<form id="search" role="search" action="/" method="get">
<input type="hidden" name="lang" value="{language}">
<div class="line">
<input id="q" type="search" name="q" value="{escape(asked.text)}" placeholder="{escape(words["placeholder"])}"
 aria-label="{escape(words["placeholder"])}" autocomplete="off" dir="auto" autofocus>
<button type="submit">{escape(words["search"])}</button>
</div>
{_like(asked, words)}<p class="drop" hidden><label>{escape(words["drop"])}
<input id="file" type="file" accept="image/*" aria-label="{escape(words["choose"])}"></label></p>
<details{opened}><summary>{escape(words["filters"])}</summary>
<div class="filters">
<label>{escape(words["after"])} <input type="date" name="after" value="{escape(asked.after)}"></label>
<label>{escape(words["before"])} <input type="date" name="before" value="{escape(asked.before)}"></label>
<label>{escape(words["folder"])} <select name="in"><option value="">{escape(words["all_folders"])}</option>{options}
</select></label>
<label>{escape(words["kind"])} <select name="kind"><option value="">{escape(words["all_kinds"])}</option>{kinds}
</select></label>
</div>
</details>
</form>"""


def _like(asked: Asked, words: Words) -> str:
    """What keeps a search for similar ones while filters are set, and the way out of it."""
    if not asked.like or asked.text.strip():
        return ""
    return (
        f'<p id="like"><input type="hidden" name="like" value="{escape(asked.like)}">{escape(words["like"])} · '
        f'<a href="{escape(address(asked, like=""))}">{escape(words["all"])}</a></p>\n'
    )


def indexed_line(words: Words, count: int, share: Share | None) -> str:
    """How much is indexed, and how far indexing is."""
    indexed = words["indexed"].format(count=f"{count:,}")
    if share is None:
        return indexed
    if not share.total:
        return f"{indexed} · {words['looking']}"
    return f"{indexed} · {words['indexing'].format(done=f'{share.done:,}', total=f'{share.total:,}')}"


def status_line(
    asked: Asked, hits: Sequence[Hit], words: Words, count: int, share: Share | None, *, image: bool = False
) -> str:
    """What is said above the hits; nothing where nothing was asked for.

    Args:
        count: of all that is indexed; looked at only where there are no hits.
        image: whether one was asked for.
    """
    if not hits and not count:
        return words["empty"] if share is None else words["coming"]
    if not hits:
        return words["nothing"]
    found = words["found"].format(count=asked.start + len(hits))
    if image:
        return f"{words['like']} · {found}"
    return found if asked.text.strip() or asked.like else ""


def _more(asked: Asked, hits: Sequence[Hit], words: Words) -> str:
    following = asked.start + PAGE
    shown = len(hits) == PAGE and following <= MOST - PAGE
    place, hidden = escape(address(asked, start=following)), "" if shown else " hidden"
    return f'<a id="more" class="button" href="{place}"{hidden}>{escape(words["more"])}</a>'


def _lightbox(words: Words) -> str:
    spoken = {name: escape(words[name]) for name in ("similar", "where", "close", "previous", "next", "failed")}
    return f"""<dialog id="lightbox" aria-labelledby="shown" data-failed="{spoken["failed"]}">
<div class="stage"><img id="large" alt=""><p id="words" dir="auto" tabindex="0"></p></div>
<p id="shown" dir="auto"></p>
<p id="shown-facts"></p>
<div class="buttons">
<button id="previous" type="button">{spoken["previous"]}</button>
<button id="next" type="button">{spoken["next"]}</button>
<button id="where" type="button">{spoken["where"]}</button>
<a id="similar" class="button" href="/">{spoken["similar"]}</a>
<button id="close" type="button">{spoken["close"]}</button>
</div>
</dialog>"""
