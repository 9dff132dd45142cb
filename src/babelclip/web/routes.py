"""The page's addresses. Answers carry a strict content policy; other names than this machine's are not answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.errors import BabelclipError, ConfigError, InputError
from babelclip.explain.occlusion import draw_heat, where_seen
from babelclip.search.index import Hit, Index
from babelclip.search.index_encoder import IndexEncoder
from babelclip.search.query import Query as SearchQuery
from babelclip.search.query import query_vector
from babelclip.web.asked import MOST, PAGE, Asked, find
from babelclip.web.curl import Api
from babelclip.web.filling import Filling, Share
from babelclip.web.own_names import OwnNames
from babelclip.web.page import address, indexed_line, render_hit, render_page, status_line
from babelclip.web.pictures import AT_ONCE, Pictures
from babelclip.web.playground import CountTokens
from babelclip.web.playground_routes import router as playground_router
from babelclip.web.request_body import whole_body
from babelclip.web.status import status_of
from babelclip.web.turns import Turns
from babelclip.web.words import words_for

SEARCHES_AT_ONCE = 2
"""Each keeps a core busy for some hundredths of a second."""
STATIC = Path(__file__).parent / "static"
KINDS_OF_FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "playground.js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class StrictHeaders:
    """Middleware that adds ``HEADERS`` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passed_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, passed_on)


def make_page(
    index: Index,
    encoder: IndexEncoder,
    *,
    names: Iterable[str] = (),
    count_tokens: CountTokens | None = None,
    api: Api | None = None,
    filling: Filling | None = None,
) -> FastAPI:
    """An application of the page alone.

    Args:
        encoder: turns photos as the model itself does, so that the playground shows what a server answers; the
            index turns them upright by itself.
        names: by which it is reached, beside this machine's own (see ``OwnNames``).
        count_tokens: how many tokens texts are, for the price that the playground tells.
        api: where its request goes to; a server on this machine when left out.
        filling: what indexes photos beside it.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.index, app.state.encoder, app.state.pictures = index, encoder, Pictures(index)
    app.state.count_tokens, app.state.api = count_tokens, api or Api()
    app.state.filling = filling
    app.include_router(router)
    app.include_router(playground_router)
    app.state.searches, app.state.drawings = Turns(SEARCHES_AT_ONCE), Turns(AT_ONCE)
    app.add_middleware(OwnNames, names=tuple(names))
    app.add_middleware(StrictHeaders)

    @app.exception_handler(BabelclipError)
    async def tell(request: Request, error: BabelclipError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_of(error))

    return app


def _paths(*routers: APIRouter) -> list[str]:
    return [route.path for each in routers for route in each.routes if isinstance(route, APIRoute)]


router = APIRouter()
Text = Annotated[str, Query(max_length=4000)]


def _asked(request: Request) -> Asked:
    given = request.query_params
    start = given.get("start", "0") or "0"
    if not start.isdigit():
        raise ConfigError("start must be a whole number")
    named = {name: given.get(name, "")[:4000] for name in ("like", "after", "before", "kind")}
    return Asked(text=given.get("q", "")[:4000], folder=given.get("in", "")[:4000], start=int(start), **named)


def _index(request: Request) -> Index:
    index: Index = request.app.state.index
    return index


def _share(request: Request) -> Share | None:
    filling: Filling | None = request.app.state.filling
    return None if filling is None else filling.share


@router.get("/")
def page(request: Request) -> HTMLResponse:
    """The page with the results of its address."""
    given = request.query_params
    language, words = words_for(given.get("lang"), request.headers.get("accept-language", ""))
    index, problem, status, asked, hits = _index(request), None, 200, Asked(), list[Hit]()
    try:
        asked = _asked(request)
        hits = find(index, asked)
    except BabelclipError as error:
        problem, status = words["failed"] + str(error), status_of(error)
    rendered = render_page(
        asked,
        hits,
        language=language,
        words=words,
        folders=list(index.folders()),
        count=index.count(),
        share=_share(request),
        problem=problem,
    )
    return HTMLResponse(rendered, status)


@router.get("/results")
async def results(request: Request) -> Response:
    """The cells of a search by text, or of what is similar to a photo."""
    turns: Turns = request.app.state.searches
    return await turns.run(request, partial(_cells, request, None))


@router.post("/results")
async def results_by_image(request: Request) -> Response:
    """The cells of a search by an image, which is the body."""
    turns: Turns = request.app.state.searches
    return await turns.run(request, partial(_cells, request, await whole_body(request)))


def _cells(request: Request, image: bytes | None) -> JSONResponse:
    language, words = words_for(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    asked = _asked(request)
    hits = find(_index(request), asked, image)
    following = asked.start + PAGE
    more = address(asked, start=following, lang=language) if len(hits) == PAGE and following <= MOST - PAGE else None
    count = len(hits) or _index(request).count()
    status = status_line(asked, hits, words, count, _share(request), image=image is not None)
    return JSONResponse(
        {"html": "".join(render_hit(hit, asked, words) for hit in hits), "status": status, "more": more}
    )


@router.get("/progress")
def progress(request: Request) -> dict[str, Any]:
    """How much is indexed, and whether more is coming."""
    _, words = words_for(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    share, count = _share(request), _index(request).count()
    return {"running": share is not None, "count": count, "text": indexed_line(words, count, share)}


@router.get("/thumbnail/{id}")
async def small_picture(request: Request, id: str) -> Response:
    """A photo for the grid."""
    state = request.app.state
    turns: Turns = state.drawings
    return await turns.run(request, partial(_picture, state.pictures.small, id))


@router.get("/picture/{id}")
async def large_picture(request: Request, id: str) -> Response:
    """A photo for the lightbox."""
    state = request.app.state
    turns: Turns = state.drawings
    return await turns.run(request, partial(_picture, state.pictures.large, id))


def _picture(draw: Callable[[str], bytes], id: str) -> Response:
    try:
        content = draw(id)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=600"})


@router.get("/where/{id}")
def where(request: Request, id: str, q: Text) -> Response:
    """Where in a photo the text is seen."""
    state = request.app.state
    try:
        opened = state.pictures.whole(id)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    encoder: IndexEncoder = state.encoder
    seen = where_seen(encoder, opened, query_vector(encoder, SearchQuery.parse(q.split(), files=False)))
    return Response(draw_heat(seen), media_type="image/png")


@router.get("/static/{name}")
def static(name: str) -> Response:
    """The page's own files."""
    if name not in KINDS_OF_FILES:
        raise HTTPException(404, "there is no such file")
    return Response((STATIC / name).read_bytes(), media_type=KINDS_OF_FILES[name])


@router.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Whether it answers, and how much is indexed."""
    return {"status": "ok", "indexed": _index(request).count()}


PLACES = frozenset(path[1:].partition("/")[0] for path in _paths(router, playground_router)) - {"health"}
"""First parts of the page's paths, for a server that has others beside them and a /health of its own."""
