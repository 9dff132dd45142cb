"""What all routes of the page share: its state, and the language of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from babelclip.encodes import Encodes
from babelclip.search.index import Index
from babelclip.web.curl import Api
from babelclip.web.indexing_job import IndexingJob, IndexingProgress
from babelclip.web.locale import Locale, choose_locale
from babelclip.web.pictures import Pictures
from babelclip.web.settings import PageSettings
from babelclip.web.where_pictures import WherePictures
from babelclip.web.work_queue import WorkQueue

CountTokens = Callable[[Sequence[str]], int]
"""How many tokens texts are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageState:
    """Of one application."""

    index: Index
    encoder: Encodes
    pictures: Pictures
    count_tokens: CountTokens | None
    api: Api
    job: IndexingJob | None
    where_pictures: WherePictures
    settings: PageSettings
    searches: WorkQueue  # by words
    uploads: WorkQueue  # by images that are sent, and the playground: one is decoded at a time
    drawings: WorkQueue
    wheres: WorkQueue

    @property
    def indexing(self) -> IndexingProgress | None:
        """How far the job is; None where nothing is being indexed."""
        return None if self.job is None else self.job.progress

    @property
    def server(self) -> str | None:
        """Where the model is; None where it is on this machine."""
        remote = self.encoder.facts().get("remote")
        return None if remote is None else str(remote)


async def page_state(request: Request) -> PageState:
    """The state of the application that is asked."""
    state: PageState = request.app.state.page
    return state


async def locale_of(request: Request) -> Locale:
    """The language that the address names, else one that the browser accepts."""
    return choose_locale(request.query_params.get("lang"), request.headers.get("accept-language", ""))


State = Annotated[PageState, Depends(page_state)]
RequestLocale = Annotated[Locale, Depends(locale_of)]
