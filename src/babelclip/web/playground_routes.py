"""The addresses of the playground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from babelclip.encodes import Encodes
from babelclip.errors import BabelclipError
from babelclip.web.http import read_upload, status_of, whole_number
from babelclip.web.locale import Locale
from babelclip.web.parameters import LANGUAGE, takes
from babelclip.web.playground import Comparison, PlaygroundItem, check_texts, compare_items
from babelclip.web.playground_body import read_playground
from babelclip.web.playground_page import render_comparison, render_playground
from babelclip.web.state import PageState, RequestLocale, State
from babelclip.web.work_queue import StopFlag

WIDTHS = (64, 96, 128, 256, 512, 768)
"""Of vectors, to choose from beside the model's own."""
router = APIRouter()


@router.get("/playground", dependencies=[takes("texts", "dim", LANGUAGE)])
async def playground(request: Request, state: State, locale: RequestLocale) -> HTMLResponse:
    """The playground, with what came of the texts of its address."""
    if not request.query_params.get("texts", "").strip():
        return _page(request, state, locale, StopFlag())  # nothing is embedded
    return await state.uploads.run(request, lambda stop: _page(request, state, locale, stop))


def _page(request: Request, state: PageState, locale: Locale, stop: StopFlag) -> HTMLResponse:
    given, encoder = request.query_params, state.encoder
    texts, comparison, problem, status, dim = given.get("texts", ""), None, None, 200, encoder.dim
    try:
        check_texts([texts], state.settings)
        dim = _dim(given.get("dim"), encoder)
        items = [PlaygroundItem(line.strip()) for line in texts.splitlines() if line.strip()]
        if items:
            comparison = _compared(request, state, items, dim, stop)
    except BabelclipError as error:
        problem, status = locale("failed") + str(error), status_of(error)
    rendered = render_playground(
        locale=locale,
        widths=[encoder.dim, *(width for width in WIDTHS if width < encoder.dim)],
        texts=texts,
        dim=dim,
        comparison=comparison,
        problem=problem,
    )
    return HTMLResponse(rendered, status)


@router.post("/playground", dependencies=[takes(LANGUAGE)])
async def playground_with_images(request: Request, state: State, locale: RequestLocale) -> JSONResponse:
    """What came of texts and images: {"texts": [...], "images": [{"name", "content" in base64}], "dim"}."""
    body = await read_upload(request, state.settings.upload_bytes)
    return await state.uploads.run(request, lambda stop: _answer(request, state, locale, body, stop))


def _answer(request: Request, state: PageState, locale: Locale, body: bytes, stop: StopFlag) -> JSONResponse:
    items, width = read_playground(body, state.settings)
    dim = _dim(width, state.encoder)
    return JSONResponse({"html": render_comparison(_compared(request, state, items, dim, stop), locale)})


def _compared(
    request: Request, state: PageState, items: Sequence[PlaygroundItem], dim: int, stop: StopFlag
) -> Comparison:
    api = state.api
    if not api.url:  # this server's own, by the name that it was reached by
        api = replace(api, url=f"{(state.settings.url or str(request.base_url)).rstrip('/')}/v1")
    return compare_items(
        state.encoder, items, dim, state.count_tokens, api, settings=state.settings, before_each=stop.check
    )


def _dim(given: str | None, encoder: Encodes) -> int:
    return whole_number(given, "the width", 1, encoder.dim) if given else encoder.dim
