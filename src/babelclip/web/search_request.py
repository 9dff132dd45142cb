"""A search as the page's address spells it, checked, and the hits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError
from babelclip.search.fields import FIELDS, KINDS
from babelclip.search.filters import And, Filter, Range, of_kind
from babelclip.search.filters_on_index import refuse_unknown_folders
from babelclip.search.index import Hit, Index, below
from babelclip.search.query import Query
from babelclip.web.http import whole_number
from babelclip.web.settings import PageSettings
from babelclip.web.uploads import picture_to_find

HITS_PER_PAGE = 60


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is searched for."""

    text: str = ""
    like: str = ""  # the id of a row: what is similar to it, where there is no text
    after: str = ""
    before: str = ""
    folder: str = ""
    kind: str = ""
    start: int = 0
    last_start: int = 0  # that a further page may have

    def __post_init__(self) -> None:
        if self.kind and self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}")
        for name, day in (("after", self.after), ("before", self.before)):
            problem = FIELDS["taken"].wrong_bound(day) if day else None
            if problem:
                raise ConfigError(f"{name}: {problem}")
        _ = self.where  # refused as soon as it is asked

    @classmethod
    def from_address(cls, given: Mapping[str, str], settings: PageSettings) -> SearchRequest:
        """The search of an address's query parameters.

        Raises:
            ConfigError: one of them is wrong.
        """
        last = max(0, settings.hits - HITS_PER_PAGE)
        start = whole_number(given.get("start") or "0", "start", 0, last)
        named = {name: given.get(name, "") for name in ("q", "in", "like", "after", "before", "kind")}
        for name, value in named.items():
            _check_length(value, name, settings.query_characters)
        return cls(text=named.pop("q"), folder=named.pop("in"), start=start, last_start=last, **named)

    def address(self, **changes: object) -> str:
        """The page's address for this search, with changes to it; relative, as a proxy may have it below a path."""
        named = {"q": self.text, "like": self.like, "after": self.after, "before": self.before}
        named |= {"in": self.folder, "kind": self.kind, "start": str(self.start or "")}
        named |= {name: str(value) for name, value in changes.items()}
        return "./?" + urlencode({name: value for name, value in named.items() if value})

    @property
    def has_query(self) -> bool:
        """Whether hits are ranked, by a text or by what they are similar to."""
        return bool(self.text.strip() or self.like)

    @property
    def has_filters(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.after or self.before or self.folder or self.kind)

    @property
    def where(self) -> Filter | None:
        """What a hit must fulfill, but for its kind."""
        parts: list[Filter] = []
        if self.after or self.before:
            parts.append(Range("taken", self.after or None, self.before or None))
        if self.folder:
            parts.append(below(Path(self.folder)))
        return And(tuple(parts)) if parts else None

    @property
    def kinds(self) -> Sequence[str]:
        """What is looked for."""
        return (self.kind,) if self.kind else KINDS

    def next_start(self, hits: Sequence[Hit]) -> int | None:
        """Where the page after these hits begins; None where there is none."""
        following = self.start + HITS_PER_PAGE
        return following if len(hits) == HITS_PER_PAGE and following <= self.last_start else None


def words_of(text: str, max_characters: int) -> tuple[str, ...]:
    """The words of what was typed.

    Raises:
        ConfigError: there are more characters than are taken.
    """
    _check_length(text, "q", max_characters)
    return tuple(text.split())


def query_of(words: Sequence[str], max_parts: int) -> Query:
    """The query of words that came from elsewhere: no name of a file is opened.

    Raises:
        ConfigError: they are no query, or one of more parts than are taken.
    """
    query = Query.parse(words, files=False)
    if len(query.parts) > max_parts:
        raise ConfigError(f"the query has {len(query.parts):,} parts between + and -, the limit is {max_parts}")
    return query


def _check_length(value: str, name: str, most: int) -> None:
    if len(value) > most:
        raise ConfigError(f"{name} has {len(value):,} characters, the limit is {most:,}")


def find(index: Index, search: SearchRequest, settings: PageSettings, image: bytes | None = None) -> list[Hit]:
    """The hits of a page, best first; where there is no query, what is indexed, in no order.

    Args:
        index: where it is looked for.
        search: what is looked for.
        settings: how much is taken.
        image: the bytes of an image to look for in the place of a text.

    Raises:
        InputError: the image or text cannot be embedded.
        ConfigError: a folder that is not indexed, or similar to what is not there.
    """
    refuse_unknown_folders(index.folders(), [Path(search.folder)] if search.folder else [])
    query = _query(index, search, settings, image)
    if query is None:
        return _any(index, search)
    hits = index.search(query, search.start + HITS_PER_PAGE, search.where, kinds=search.kinds)
    return hits[search.start :]


def _query(index: Index, search: SearchRequest, settings: PageSettings, image: bytes | None) -> Query | Vectors | None:
    if image is not None:
        return Query.image(picture_to_find(image, settings.upload_limits))
    if search.text.strip():
        return query_of(words_of(search.text, settings.query_characters), settings.query_parts)
    return _vector_of(index, search.like) if search.like else None


def _vector_of(index: Index, id: str) -> Vectors:
    store = index.store()
    row = None if store is None else store.get([id])[0]
    if row is None:
        raise ConfigError("what is to be similar is not in the index; it may have been taken out since")
    return row.vector


def _any(index: Index, search: SearchRequest) -> list[Hit]:
    store = index.store()
    if store is None:
        return []
    where = of_kind(search.kind, search.where) if search.kind else search.where
    shown = islice(store.known(where), search.start, search.start + HITS_PER_PAGE)
    return [Hit.of(rank, row, float(np.nan)) for rank, row in enumerate(shown, start=search.start + 1)]
