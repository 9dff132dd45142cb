"""The page as an application: its routes and what they share, behind a check of names and a strict content policy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.staticfiles import StaticFiles

from babelclip.encodes import Encodes
from babelclip.errors import BabelclipError
from babelclip.search.index import Index
from babelclip.web import picture_routes, playground_routes, search_routes
from babelclip.web.concurrency import ConcurrencyLimit
from babelclip.web.curl import Api
from babelclip.web.http import status_of
from babelclip.web.indexing_job import IndexingJob
from babelclip.web.middleware import SecurityHeaders, TrustedHosts
from babelclip.web.pictures import DRAWINGS_AT_ONCE, Pictures
from babelclip.web.search_routes import SEARCHES_AT_ONCE
from babelclip.web.state import CountTokens, PageState

STATIC = Path(__file__).parent / "static"
PAGE_ROUTERS = (search_routes.router, picture_routes.router, playground_routes.router)
_ROUTES = [route for router in PAGE_ROUTERS for route in router.routes if isinstance(route, APIRoute)]
FIRST_SEGMENTS = frozenset({"static", *(route.path.split("/")[1] for route in _ROUTES)}) - {"health"}
"""First segments of the page's paths, for a server that has others beside them and a /health of its own."""


def make_page(
    index: Index,
    encoder: Encodes,
    *,
    names: Iterable[str] = (),
    count_tokens: CountTokens | None = None,
    api: Api | None = None,
    job: IndexingJob | None = None,
) -> FastAPI:
    """An application of the page alone.

    Args:
        index: what is searched.
        encoder: the model. It turns photos as the model itself does, so that the playground shows what a server
            answers; the index turns them upright by itself.
        names: by which the page is reached, beside this machine's own (see ``TrustedHosts``).
        count_tokens: for the price that the playground tells; without it, it tells none.
        api: where the playground's request goes to; a server on this machine when left out.
        job: what indexes photos beside the page.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.page = PageState(
        index=index,
        encoder=encoder,
        pictures=Pictures(index),
        count_tokens=count_tokens,
        api=api or Api(),
        job=job,
        searches=ConcurrencyLimit(SEARCHES_AT_ONCE),
        drawings=ConcurrencyLimit(DRAWINGS_AT_ONCE),
    )
    for router in PAGE_ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(TrustedHosts, names=tuple(names))
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(BabelclipError, _on_error)
    return app


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BabelclipError)
    return JSONResponse({"detail": str(error)}, status_of(error))
