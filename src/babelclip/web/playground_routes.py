"""The addresses of the playground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse

from babelclip.data_uri import from_base64
from babelclip.decode import parse_json
from babelclip.encodes import Encodes
from babelclip.errors import BabelclipError, ConfigError
from babelclip.web.http import status_of, whole_body
from babelclip.web.locale import Locale
from babelclip.web.playground import Comparison, PlaygroundItem, compare_items
from babelclip.web.playground_page import render_comparison, render_playground
from babelclip.web.state import PageState, RequestLocale, State

WIDTHS = (64, 96, 128, 256, 512, 768)
"""Of vectors, to choose from beside the model's own."""
MAX_FORM_CHARACTERS = 20_000
"""Of all texts of an address; the rest is left out."""
router = APIRouter()


@router.get("/playground")
def playground(request: Request, state: State, locale: RequestLocale) -> HTMLResponse:
    """The playground, with what came of the texts of its address."""
    given, encoder = request.query_params, state.encoder
    texts, comparison, problem, status, dim = given.get("texts", "")[:MAX_FORM_CHARACTERS], None, None, 200, encoder.dim
    try:
        dim = _dim(given.get("dim"), encoder)
        items = [PlaygroundItem(line.strip()) for line in texts.splitlines() if line.strip()]
        if items:
            comparison = _compared(request, state, items, dim)
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


@router.post("/playground")
async def playground_with_images(request: Request, state: State, locale: RequestLocale) -> JSONResponse:
    """What came of texts and images: {"texts": [...], "images": [{"name", "content" in base64}], "dim"}."""
    return await run_in_threadpool(_answer, request, state, locale, await whole_body(request))


def _answer(request: Request, state: PageState, locale: Locale, body: bytes) -> JSONResponse:
    try:
        given = parse_json(body)
        items = [PlaygroundItem(str(text)) for text in given["texts"]]
        items += [PlaygroundItem(str(each["name"]), from_base64(each["content"])) for each in given["images"]]
        dim = _dim(str(given.get("dim") or ""), state.encoder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the request is not of the playground's form ({type(error).__name__})") from error
    return JSONResponse({"html": render_comparison(_compared(request, state, items, dim), locale)})


def _compared(request: Request, state: PageState, items: Sequence[PlaygroundItem], dim: int) -> Comparison:
    api = state.api
    if not api.url:  # this server's own, by the name that it was reached by
        api = replace(api, url=f"{request.base_url}v1")
    return compare_items(state.encoder, items, dim, state.count_tokens, api)


def _dim(given: str | None, encoder: Encodes) -> int:
    if not given:
        return encoder.dim
    if not given.isdigit() or not 1 <= int(given) <= encoder.dim:
        raise ConfigError(f"the width must be from 1 to {encoder.dim}")
    return int(given)
