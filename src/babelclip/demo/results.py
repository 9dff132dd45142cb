"""The album's queries answered: encode the photos once, each query once, rank by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from babelclip.demo.album import Album, AlbumPhoto, AlbumQuery
from babelclip.vectors import similarity

if TYPE_CHECKING:
    from babelclip.encodes import Encodes


@dataclass(frozen=True, slots=True)
class RankedPhoto:
    """A photo, how close it is to the query, and whether it is one that a person would call right."""

    photo: AlbumPhoto
    score: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class QueryResult:
    """All photos for a query, best first."""

    query: AlbumQuery
    photos: tuple[RankedPhoto, ...]

    @property
    def rank(self) -> int | None:
        """Of the best right photo, from 1; None where no photo is right."""
        return next((rank for rank, ranked in enumerate(self.photos, start=1) if ranked.is_right), None)


@dataclass(frozen=True, slots=True)
class AlbumResults:
    """What the demonstration found."""

    ordinary: tuple[QueryResult, ...]
    hard: tuple[QueryResult, ...]

    @property
    def num_first(self) -> int:
        """Ordinary queries whose first photo is right."""
        return sum(result.rank == 1 for result in self.ordinary)

    @property
    def num_languages(self) -> int:
        """Languages of the ordinary queries."""
        return len({result.query.code for result in self.ordinary})


def answer_queries(encoder: Encodes, album: Album, *, progress: bool = False) -> AlbumResults:
    """Encode the album and rank its photos for every query."""
    photo_vectors = encoder.encode_image([photo.path for photo in album.photos], progress=progress)

    def answered(queries: Sequence[AlbumQuery]) -> tuple[QueryResult, ...]:
        scores = similarity(encoder.encode_text([query.text for query in queries]), photo_vectors)
        results = []
        for query, row in zip(queries, scores, strict=True):
            photos = (
                RankedPhoto(photo, float(score), photo.name in query.wanted)
                for photo, score in zip(album.photos, row, strict=True)
            )
            results.append(QueryResult(query, tuple(sorted(photos, key=lambda ranked: -ranked.score))))
        return tuple(results)

    return AlbumResults(answered(album.queries), answered(album.hard))
