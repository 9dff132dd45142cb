"""What an index notes beside its rows: which store answers, by which model, and what is indexed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from babelclip.decode import decode, decode_as, parse_json
from babelclip.errors import StoreError
from babelclip.search.walk import Wanted
from babelclip.version import __version__

_FORMAT = 2
"""Of what is noted. In format 1 the model's fingerprint left out how it prepares texts and images, so that nobody can
tell any more whether another encoder's vectors fit.
"""
ANSWERING = "answering"
"""The name of the store that answers."""
FILLING = "filling"
"""... of the one that is filled to take its place."""
FOLDERS = "folders"
"""Folders and files that are indexed, and what of them."""


@dataclass(frozen=True, slots=True)
class ModelNote:
    """What an index says of the vectors in one of its stores."""

    model: str
    fingerprint: str
    dim: int
    orientation: str = "upright"  # photos are turned as their EXIF data say
    babelclip: str = __version__
    format: int = _FORMAT

    def differs(self, asked: ModelNote) -> list[str]:
        """Why vectors of both may not be mixed: what differs, in words."""
        if self.format < _FORMAT:
            return [f"babelclip {self.babelclip} did not note how that model prepares texts and images"]
        compared = ("fingerprint", "dim", "orientation")
        mine, other = asdict(self), asdict(asked)
        return [f"{name} {mine[name]}, not {other[name]}" for name in compared if mine[name] != other[name]]

    def as_json(self) -> str:
        """For a note."""
        return json.dumps(asdict(self))


def model_note(name: str) -> str:
    """The note that tells the model of a store."""
    return f"model of {name}"


def cohorts_note(name: str) -> str:
    """The note that holds the cohorts of a store's kinds."""
    return f"cohorts of {name}"


def read_model(notes: Mapping[str, str], name: str) -> ModelNote:
    """The model of a store.

    Raises:
        StoreError: when it is not noted, or in a form that is not known.
    """
    try:
        stored: dict[str, Any] = parse_json(notes[model_note(name)])
        format = int(stored.get("format", 1))
        if format > _FORMAT:
            raise StoreError(f"the index has format {format}, this version of babelclip knows {_FORMAT}: update it")
        return decode(ModelNote, {**stored, "format": format}, model_note(name))
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"the index does not tell which model made its vectors ({error!r}): make it anew") from error


def read_folders(notes: Mapping[str, str]) -> dict[str, Wanted]:
    """What is indexed.

    Raises:
        StoreError: when it is not noted in a form that is known.
    """
    found: dict[str, Wanted] = read_note(notes, FOLDERS, dict[str, Wanted], {})
    return found


def read_note(notes: Mapping[str, str], name: str, hint: Any, absent: Any) -> Any:
    """What a note holds as JSON, of a type that ``decode_as`` knows.

    Raises:
        StoreError: it holds something else: it is damaged, or nobody's that babelclip knows.
    """
    if name not in notes:
        return absent
    try:
        return decode_as(hint, parse_json(notes[name]), f"its note of {name}")
    except ValueError as error:
        raise StoreError(f"the index is damaged: {error}: make it anew") from error


def folders_note(folders: Mapping[str, Wanted]) -> dict[str, str | None]:
    """The note of what is indexed."""
    return {FOLDERS: json.dumps({path: asdict(wanted) for path, wanted in folders.items()})}
