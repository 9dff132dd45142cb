"""The playground's addresses."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse

from babelclip.errors import BabelclipError, ConfigError
from babelclip.search.index_encoder import IndexEncoder
from babelclip.web.curl import Api
from babelclip.web.playground import Thing, Words, render_playground, render_tried, try_things
from babelclip.web.request_body import whole_body
from babelclip.web.status import status_of
from babelclip.web.words import words_for

router = APIRouter()


@router.get("/playground")
def playground(request: Request) -> HTMLResponse:
    """The playground, with what came of the texts of its address."""
    given = request.query_params
    language, words = words_for(given.get("lang"), request.headers.get("accept-language", ""))
    encoder: IndexEncoder = request.app.state.encoder
    widths = {encoder.dim, *(width for width in (64, 96, 128, 256, 512, 768) if width < encoder.dim)}
    texts, result, problem, status, dim = given.get("texts", "")[:20_000], "", None, 200, encoder.dim
    try:
        dim = _width(given.get("dim"), encoder)
        lines = [Thing(line.strip()) for line in texts.splitlines() if line.strip()]
        if lines:
            result = _rendered(request, lines, dim, words)
    except BabelclipError as error:
        problem, status = words["failed"] + str(error), status_of(error)
    rendered = render_playground(
        language=language, words=words, widths=sorted(widths), texts=texts, dim=dim, result=result, problem=problem
    )
    return HTMLResponse(rendered, status)


@router.post("/playground")
async def playground_with_images(request: Request) -> JSONResponse:
    """What came of texts and images: {"texts": [...], "images": [{"name", "content" in base64}], "dim"}."""
    body = await whole_body(request)
    return await run_in_threadpool(_tried, request, body)


def _tried(request: Request, body: bytes) -> JSONResponse:
    _, words = words_for(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    encoder: IndexEncoder = request.app.state.encoder
    try:
        given = json.loads(body)
        things = [Thing(str(text)) for text in given["texts"]]
        for each in given["images"]:
            things.append(Thing(str(each["name"]), base64.b64decode(each["content"], validate=True)))
        dim = _width(str(given.get("dim") or ""), encoder)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the request is not of the playground's form ({type(error).__name__})") from error
    return JSONResponse({"html": _rendered(request, things, dim, words)})


def _rendered(request: Request, things: Sequence[Thing], dim: int, words: Words) -> str:
    state = request.app.state
    api: Api = state.api
    if not api.url:  # this server's own, by the name that it was reached by
        api = replace(api, url=f"{request.base_url}v1")
    return render_tried(try_things(state.encoder, things, dim, state.count_tokens, api), words)


def _width(given: str | None, encoder: IndexEncoder) -> int:
    if not given:
        return encoder.dim
    if not given.isdigit() or not 1 <= int(given) <= encoder.dim:
        raise ConfigError(f"the width must be from 1 to {encoder.dim}")
    return int(given)
