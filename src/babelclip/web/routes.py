"""The page's addresses. Answers carry a strict content policy; other names than this machine's are not answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from babelclip.errors import BabelclipError, ConfigError, InputError
from babelclip.explain.occlusion import draw_heat, where_seen
from babelclip.search.index import Hit, Index, IndexEncoder
from babelclip.search.query import Query as SearchQuery
from babelclip.search.query import query_vector
from babelclip.web.asked import MOST, PAGE, Asked, find
from babelclip.web.page import address, render_hit, render_page
from babelclip.web.pictures import Pictures
from babelclip.web.playground import CountTokens
from babelclip.web.playground_routes import router as playground_router
from babelclip.web.request_body import whole_body
from babelclip.web.words import words_for

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


def make_page(
    index: Index, encoder: IndexEncoder, hosts: list[str], count_tokens: CountTokens | None = None
) -> FastAPI:
    """An application of the page alone.

    hosts: names under which it is reached: another name in a request is one that leads here against the user's will.
    count_tokens: how many tokens texts are, for the price that the playground tells.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.index, app.state.encoder, app.state.pictures = index, encoder, Pictures(index)
    app.state.count_tokens = count_tokens
    app.include_router(router)
    app.include_router(playground_router)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)

    @app.middleware("http")
    async def add_headers(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await go_on(request)
        answer.headers.update(HEADERS)
        return answer

    @app.exception_handler(BabelclipError)
    async def tell(request: Request, error: BabelclipError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400 if isinstance(error, InputError | ConfigError) else 500)

    return app


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


@router.get("/")
def page(request: Request) -> HTMLResponse:
    """The page with the results of its address."""
    given = request.query_params
    language, words = words_for(given.get("lang"), request.headers.get("accept-language", ""))
    index, problem, asked, hits = _index(request), None, Asked(), list[Hit]()
    try:
        asked = _asked(request)
        hits = find(index, asked)
    except (InputError, ConfigError) as error:
        problem = words["failed"] + str(error)
    rendered = render_page(
        asked,
        hits,
        language=language,
        words=words,
        folders=list(index.folders()),
        count=index.count(),
        problem=problem,
    )
    return HTMLResponse(rendered, 400 if problem else 200)


@router.get("/results")
def results(request: Request) -> JSONResponse:
    """The cells of a search by text, or of what is similar to a photo."""
    return _cells(request, None)


@router.post("/results")
async def results_by_image(request: Request) -> JSONResponse:
    """The cells of a search by an image, which is the body."""
    return await run_in_threadpool(_cells, request, await whole_body(request))


def _cells(request: Request, image: bytes | None) -> JSONResponse:
    language, words = words_for(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    asked = _asked(request)
    hits = find(_index(request), asked, image)
    following = asked.start + PAGE
    more = address(asked, start=following, lang=language) if len(hits) == PAGE and following <= MOST - PAGE else None
    status = words["found"].format(count=asked.start + len(hits)) if hits else words["nothing"]
    return JSONResponse(
        {"html": "".join(render_hit(hit, asked, words) for hit in hits), "status": status, "more": more}
    )


@router.get("/thumbnail/{id}")
def small_picture(request: Request, id: str) -> Response:
    """A photo for the grid."""
    return _picture(request.app.state.pictures.small, id)


@router.get("/picture/{id}")
def large_picture(request: Request, id: str) -> Response:
    """A photo for the lightbox."""
    return _picture(request.app.state.pictures.large, id)


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
    seen = where_seen(encoder, opened, query_vector(encoder, SearchQuery.parse(q.split())))
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
