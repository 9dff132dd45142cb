"""The photos and queries that ship with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from babelclip.decode import parse_json

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class AlbumPhoto:
    """A sample photo and what its license (CC BY 2.0) asks to be said about it."""

    path: Path
    title: str
    author: str
    source: str  # its page
    license: str
    license_url: str

    @property
    def name(self) -> str:
        """The file name without its suffix: how queries refer to the photo."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class AlbumQuery:
    """A query in some language, and the photos that a person would call right."""

    language: str
    code: str  # of the language, for the page's lang attribute
    text: str
    english: str | None  # what it says; None where it is English
    wanted: tuple[str, ...]  # names of photos; none where the album has no right answer
    why: str | None = None  # why it is hard, for those that are shown as such


@dataclass(frozen=True, slots=True)
class Album:
    """Everything that the demonstration shows."""

    photos: tuple[AlbumPhoto, ...]
    note: str  # what was changed about the photos
    queries: tuple[AlbumQuery, ...]
    hard: tuple[AlbumQuery, ...]  # of the kinds that such a model gets wrong


def read_album() -> Album:
    """Read the album out of the package."""
    credits = parse_json((HERE / "photos" / "ATTRIBUTION.json").read_text(encoding="utf-8"))
    asked = parse_json((HERE / "queries.json").read_text(encoding="utf-8"))
    photos = tuple(
        AlbumPhoto(
            HERE / "photos" / row["file"],
            *(row[key] for key in ("title", "author", "source", "licence", "licence_url")),
        )
        for row in credits["photos"]
    )
    return Album(photos, credits["note"], _queries(asked["queries"]), _queries(asked["hard"]))


def _queries(rows: list[dict[str, object]]) -> tuple[AlbumQuery, ...]:
    return tuple(
        AlbumQuery(
            language=str(row["language"]),
            code=str(row["code"]),
            text=str(row["text"]),
            english=None if row["english"] is None else str(row["english"]),
            wanted=tuple(row["wanted"]),  # type: ignore[arg-type]
            why=str(row["why"]) if "why" in row else None,
        )
        for row in rows
    )
