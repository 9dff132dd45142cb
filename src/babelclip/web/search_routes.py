"""The addresses of a search: the page, its results alone, and how far indexing is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from babelclip.errors import BabelclipError
from babelclip.search.filters_on_index import LackingField
from babelclip.search.index import Hit
from babelclip.web.http import read_upload, status_of
from babelclip.web.locale import Locale
from babelclip.web.parameters import LANGUAGE, SEARCH, takes
from babelclip.web.search_page import indexed_line, render_hits, render_search_page, status_line
from babelclip.web.search_request import SearchRequest, find
from babelclip.web.state import PageState, RequestLocale, State

BY_IMAGE = tuple(name for name in SEARCH if name not in ("q", "like"))
"""Beside an image that is the query, words and what is similar would mean nothing."""
router = APIRouter()


@router.get("/", dependencies=[takes(*SEARCH)])
async def page(request: Request, state: State, locale: RequestLocale) -> HTMLResponse:
    """The page with the results of its address."""
    return await state.searches.run(request, lambda stop: _page(request, state, locale))


def _page(request: Request, state: PageState, locale: Locale) -> HTMLResponse:
    search, hits, problem, status = SearchRequest(), list[Hit](), None, 200
    lacking: list[LackingField] = []
    try:
        search = SearchRequest.from_address(request.query_params, state.settings)
        hits = find(state.index, search, state.settings)
        lacking = state.index.lacking(search.where, search.kinds)
    except BabelclipError as error:
        problem, status = locale("failed") + str(error), status_of(error)
    rendered = render_search_page(
        search,
        hits,
        locale=locale,
        folders=list(state.index.folders()),
        count=state.index.count(),
        lacking=lacking,
        indexing=state.indexing,
        problem=problem,
        server=state.server,
    )
    return HTMLResponse(rendered, status)


@router.get("/results", dependencies=[takes(*SEARCH)])
async def search_results(request: Request, state: State, locale: RequestLocale) -> Response:
    """The cells of a search by text, or of what is similar to a photo."""
    return await state.searches.run(request, lambda stop: _results(request, state, locale, None))


@router.post("/results", dependencies=[takes(*BY_IMAGE)])
async def search_results_by_image(request: Request, state: State, locale: RequestLocale) -> Response:
    """The cells of a search by an image, which is the body."""
    image = await read_upload(request, state.settings.upload_bytes)
    return await state.uploads.run(request, lambda stop: _results(request, state, locale, image))


def _results(request: Request, state: PageState, locale: Locale, image: bytes | None) -> JSONResponse:
    search = SearchRequest.from_address(request.query_params, state.settings)
    hits = find(state.index, search, state.settings, image)
    lacking = state.index.lacking(search.where, search.kinds)
    following = search.next_start(hits)
    count = len(hits) or state.index.count()
    return JSONResponse(
        {
            "html": render_hits(hits, search, locale),
            "status": status_line(search, hits, locale, count, state.indexing, lacking, by_image=image is not None),
            "more": None if following is None else search.address(start=following, lang=locale.code),
        }
    )


@router.get("/progress", dependencies=[takes(LANGUAGE)])
def progress(state: State, locale: RequestLocale) -> dict[str, Any]:
    """How much is indexed, and whether more is coming."""
    indexing, count = state.indexing, state.index.count()
    return {"running": indexing is not None, "count": count, "text": indexed_line(locale, count, indexing)}


@router.get("/health", dependencies=[takes()])
def page_health(state: State) -> dict[str, Any]:
    """Whether it answers, and how much is indexed."""
    return {"status": "ok", "indexed": state.index.count()}
