"""The addresses of pictures: small and large ones of what is indexed, and where in one a text is seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from babelclip.errors import InputError
from babelclip.explain.occlusion import draw_heat, where_seen
from babelclip.search.query import Query as SearchQuery
from babelclip.search.query import query_vector
from babelclip.web.search_request import MAX_QUERY_CHARACTERS
from babelclip.web.state import State

router = APIRouter()


@router.get("/thumbnail/{id}")
async def small_picture(request: Request, id: str, state: State) -> Response:
    """A photo for the grid."""
    return await state.drawings.run(request, partial(_picture, state.pictures.small, id))


@router.get("/picture/{id}")
async def large_picture(request: Request, id: str, state: State) -> Response:
    """A photo for the lightbox."""
    return await state.drawings.run(request, partial(_picture, state.pictures.large, id))


def _picture(draw: Callable[[str], bytes], id: str) -> Response:
    try:
        content = draw(id)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=600"})


@router.get("/where/{id}")
def where(id: str, q: Annotated[str, Query(max_length=MAX_QUERY_CHARACTERS)], state: State) -> Response:
    """Where in a photo the text is seen."""
    try:
        opened = state.pictures.whole(id)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    query = query_vector(state.encoder, SearchQuery.parse(q.split(), files=False))
    return Response(draw_heat(where_seen(state.encoder, opened, query)), media_type="image/png")
