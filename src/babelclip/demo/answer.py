"""Answer the album's queries: encode the photos once, each query once, rank by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from babelclip.demo.album import Album, Photo, Query
from babelclip.vectors import similarity

if TYPE_CHECKING:
    from babelclip.encodes import Encodes


@dataclass(frozen=True, slots=True)
class Hit:
    """A photo, how close it is to the query, and whether it is one that a person would call right."""

    photo: Photo
    score: float
    right: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """All photos for a query, best first."""

    query: Query
    hits: tuple[Hit, ...]

    @property
    def rank(self) -> int | None:
        """Place of the best right photo, from 1; None where no photo is right."""
        return next((place for place, hit in enumerate(self.hits, start=1) if hit.right), None)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the demonstration found."""

    answers: tuple[Answer, ...]
    hard: tuple[Answer, ...]

    @property
    def num_first(self) -> int:
        """Ordinary queries whose first photo is right."""
        return sum(answer.rank == 1 for answer in self.answers)


def answer_queries(encoder: Encodes, album: Album, *, progress: bool = False) -> Answers:
    """Encode the album and rank its photos for every query."""
    photo_vectors = encoder.encode_image([photo.path for photo in album.photos], progress=progress)

    def answered(queries: Sequence[Query]) -> tuple[Answer, ...]:
        scores = similarity(encoder.encode_text([query.text for query in queries]), photo_vectors)
        ranked = []
        for query, row in zip(queries, scores, strict=True):
            hits = (
                Hit(photo, float(score), photo.name in query.wanted)
                for photo, score in zip(album.photos, row, strict=True)
            )
            ranked.append(Answer(query, tuple(sorted(hits, key=lambda hit: -hit.score))))
        return tuple(ranked)

    return Answers(answered(album.queries), answered(album.hard))
