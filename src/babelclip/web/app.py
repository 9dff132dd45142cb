"""The page as an application: its routes and what they share, behind a check of names and a strict content policy."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from babelclip.encodes import Encodes
from babelclip.errors import BabelclipError
from babelclip.html import render_html
from babelclip.search.index import Index
from babelclip.serve.http_methods import HttpMethods
from babelclip.serve.sub_path import path_below
from babelclip.web import picture_routes, playground_routes, search_routes
from babelclip.web.curl import Api
from babelclip.web.http import status_of
from babelclip.web.indexing_job import IndexingJob
from babelclip.web.middleware import OwnOrigin, QueryLimits, SecurityHeaders, TrustedHosts
from babelclip.web.pictures import Pictures
from babelclip.web.settings import PageSettings
from babelclip.web.state import CountTokens, PageState, locale_of
from babelclip.web.where_pictures import WherePictures
from babelclip.web.work_queue import WorkQueue

STATIC = Path(__file__).parent / "static"
PAGE_ROUTERS = (search_routes.router, picture_routes.router, playground_routes.router)
_ROUTES = [route for router in PAGE_ROUTERS for route in router.routes if isinstance(route, APIRoute)]
FIRST_SEGMENTS = frozenset({"static", *(route.path.split("/")[1] for route in _ROUTES)}) - {"health"}
"""First segments of the page's paths, for a server that has others beside them and a /health of its own."""


def make_page(
    index: Index,
    encoder: Encodes,
    *,
    settings: PageSettings | None = None,
    host: str = "",
    count_tokens: CountTokens | None = None,
    api: Api | None = None,
    job: IndexingJob | None = None,
) -> FastAPI:
    """An application of the page alone.

    Args:
        index: what is searched.
        encoder: the model. It turns photos as the model itself does, so that the playground shows what a server
            answers; the index turns them upright by itself.
        settings: the names by which it is reached, and its limits.
        host: where it listens, which is one of its names.
        count_tokens: for the price that the playground tells; without it, it tells none.
        api: where the playground's request goes to; a server on this machine when left out.
        job: what indexes photos beside the page.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    settings = settings or PageSettings()
    pictures, names = Pictures(index), settings.own_names | ({host.lower()} - {""})
    app.state.page = PageState(
        index=index,
        encoder=encoder,
        pictures=pictures,
        count_tokens=count_tokens,
        api=api or Api(),
        job=job,
        where_pictures=WherePictures(pictures, encoder, settings.query_parts),
        settings=settings,
        searches=WorkQueue("search", at_once=settings.searches, waiting=settings.searches_waiting),
        uploads=WorkQueue("upload", at_once=settings.uploads, waiting=settings.uploads_waiting),
        drawings=WorkQueue("draw", at_once=settings.pictures, waiting=settings.pictures_waiting),
        wheres=WorkQueue("where", at_once=settings.wheres, waiting=settings.wheres_waiting),
    )
    for router in PAGE_ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(HttpMethods, routes=app.router.routes)
    app.add_middleware(OwnOrigin, names=names)
    app.add_middleware(TrustedHosts, names=names)
    app.add_middleware(QueryLimits)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(BabelclipError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    """What went wrong: a page for who looks at one, else JSON."""
    headers = None
    if isinstance(error, HTTPException):
        detail, status, headers = str(error.detail), error.status_code, error.headers
    else:
        assert isinstance(error, BabelclipError)
        detail, status = str(error), status_of(error)
    if "text/html" in request.headers.get("accept", ""):
        root = "../" * (path_below(request.scope).count("/") - 1)
        page = render_html("web/templates/problem.html", t=await locale_of(request), problem=detail, root=root)
        return HTMLResponse(page, status, headers)
    return JSONResponse({"detail": detail}, status, headers)
