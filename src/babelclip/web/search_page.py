"""The search page as HTML: complete without JavaScript, which only makes it quicker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from babelclip.html import render_html
from babelclip.search.fields import KINDS
from babelclip.search.filters_on_index import LackingField
from babelclip.search.index import Hit
from babelclip.web.indexing_job import IndexingProgress
from babelclip.web.locale import Locale
from babelclip.web.search_request import HITS_PER_PAGE, SearchRequest


def render_search_page(
    search: SearchRequest,
    hits: Sequence[Hit],
    *,
    locale: Locale,
    folders: Sequence[str],
    count: int,
    lacking: Sequence[LackingField] = (),
    indexing: IndexingProgress | None = None,
    problem: str | None = None,
    server: str | None = None,
) -> str:
    """The whole page.

    Args:
        search: what was searched for.
        hits: what was found.
        locale: the language of the page.
        folders: what has been indexed, to choose from.
        count: how much is indexed.
        lacking: fields that a filter asks for and rows lack.
        indexing: how far indexing is, where it runs beside the page.
        problem: what went wrong, where something did.
        server: where the model is, where it is elsewhere.
    """
    return render_html(
        "web/templates/search.html",
        t=locale,
        search=search,
        hits=[HitCell.of(hit, search, locale) for hit in hits],
        kinds=KINDS,
        folders=folders,
        is_indexing=indexing is not None,
        indexed=indexed_line(locale, count, indexing),
        status=problem or status_line(search, hits, locale, count, indexing, lacking),
        following=search.start + HITS_PER_PAGE,
        server=server,
        has_more=search.next_start(hits) is not None,
    )


def render_hits(hits: Sequence[Hit], search: SearchRequest, locale: Locale) -> str:
    """The cells of hits alone."""
    return render_html("web/templates/hits.html", hits=[HitCell.of(hit, search, locale) for hit in hits])


@dataclass(frozen=True, slots=True)
class HitCell:
    """A hit as the page shows it: a link to what is similar, so that it works without JavaScript."""

    id: str
    kind: str
    path: str
    similar: str  # the address of what is similar to it
    fit: str  # how well it fits, for the lightbox
    facts: str  # the same in short, and more, for the cell
    taken: str
    snippet: str  # of a text

    @classmethod
    def of(cls, hit: Hit, search: SearchRequest, locale: Locale) -> HitCell:
        """The cell of a hit, in a language."""
        short, fit = _fit(hit, locale)
        taken = str(hit.metadata.get("taken", ""))
        page = locale("page_number", number=hit.metadata["page"]) if "page" in hit.metadata else ""
        return cls(
            id=hit.id,
            kind=hit.kind,
            path=hit.path,
            similar=SearchRequest(like=hit.id, folder=search.folder, kind=search.kind).address(),
            fit=fit,
            facts=" · ".join(filter(None, (short, taken[:10], page))),
            taken=taken,
            snippet=str(hit.metadata.get("text", "")),
        )

    @property
    def name(self) -> str:
        """Of its file."""
        return self.path.rpartition("/")[2]


def _fit(hit: Hit, locale: Locale) -> tuple[str, str]:
    """How well a hit fits, in short and in words; nothing where it was not searched for."""
    if math.isnan(hit.score):
        return "", ""
    cosine = f"{locale('score')} {hit.score:.3f}"
    if hit.chance is None:
        return f"{hit.score:.3f}", cosine
    return f"{hit.chance:.0%}", f"{locale('chance', chance=f'{hit.chance:.0%}')} · {cosine}"


def indexed_line(locale: Locale, count: int, indexing: IndexingProgress | None) -> str:
    """How much is indexed, and how far indexing is."""
    indexed = locale("indexed", count=f"{count:,}")
    if indexing is None:
        return indexed
    if not indexing.total:
        return f"{indexed} · {locale('looking')}"
    return f"{indexed} · {locale('indexing', done=f'{indexing.done:,}', total=f'{indexing.total:,}')}"


def status_line(
    search: SearchRequest,
    hits: Sequence[Hit],
    locale: Locale,
    count: int,
    indexing: IndexingProgress | None,
    lacking: Sequence[LackingField] = (),
    *,
    by_image: bool = False,
) -> str:
    """What is said above the hits; nothing where there was no query.

    Args:
        search: what was searched for.
        hits: what was found.
        locale: the language of the page.
        count: of all that is indexed; looked at only where there are no hits.
        indexing: how far indexing is.
        lacking: fields that a filter asks for and rows lack.
        by_image: whether an image was searched for.
    """
    if not hits and not count:
        return locale("empty" if indexing is None else "coming")
    left_out = [
        locale("lacking", count=f"{each.lacking:,}", rows=f"{each.rows:,}", field=locale(each.field))
        for each in lacking
    ]
    if not hits:
        return " · ".join((locale("nothing"), *left_out))
    found = [locale("found", count=search.start + len(hits))] if by_image or search.has_query else []
    return " · ".join(([locale("like")] if by_image else []) + found + left_out)
