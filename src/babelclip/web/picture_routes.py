"""The addresses of pictures: small and large ones of what is indexed, and where in one a text is seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from babelclip.errors import InputError
from babelclip.web.parameters import takes
from babelclip.web.search_request import words_of
from babelclip.web.state import State
from babelclip.web.work_queue import StopFlag

router = APIRouter()


@router.get("/thumbnail/{id}", dependencies=[takes()])
async def small_picture(request: Request, id: str, state: State) -> Response:
    """A photo for the grid."""
    return _picture(await state.drawings.run(request, partial(_drawn, partial(state.pictures.small, id))))


@router.get("/picture/{id}", dependencies=[takes()])
async def large_picture(request: Request, id: str, state: State) -> Response:
    """A photo for the lightbox."""
    return _picture(await state.drawings.run(request, partial(_drawn, partial(state.pictures.large, id))))


@router.get("/where/{id}", dependencies=[takes("q")])
async def where(request: Request, id: str, q: str, state: State) -> Response:
    """Where in a photo the text is seen."""
    words = words_of(q, state.settings.query_characters)
    draw = partial(state.where_pictures.draw, id, words)
    content = await state.wheres.run(request, lambda stop: _drawn(partial(draw, stop), stop), same_as=(id, words))
    return Response(content, media_type="image/png")


def _drawn(draw: Callable[[], bytes], stop: StopFlag) -> bytes:
    stop.check()
    try:
        return draw()
    except InputError as error:
        raise HTTPException(404, str(error)) from error


def _picture(content: bytes) -> Response:
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=600"})
