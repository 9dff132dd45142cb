"""What is asked: texts and images, each with a sign and a weight, become one vector.

./cat.jpg + "at night" - "people"        2:golden retriever + snow
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.encodes import Encodes
from babelclip.errors import ConfigError, InputError, ItemsError
from babelclip.prepare.arguments import kind_of_argument, why_no_image
from babelclip.prepare.kinds import Kind, kind_of
from babelclip.prepare.open_image import ImageSource

_WEIGHT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?):(?=\S)")


@dataclass(frozen=True, slots=True)
class QueryPart:
    """A text or an image of a query."""

    source: str | ImageSource
    kind: Kind
    weight: float = 1.0  # below zero: away from it


@dataclass(frozen=True, slots=True)
class Query:
    """Parts that are added up."""

    parts: tuple[QueryPart, ...]

    @property
    def is_one_text(self) -> bool:
        """Whether it is a lone text that is wanted, not shunned."""
        return len(self.parts) == 1 and self.parts[0].kind == "text" and self.parts[0].weight > 0

    @classmethod
    def of(cls, text: str) -> Query:
        """A lone text, whatever it looks like."""
        return cls((QueryPart(text, "text"),))

    @classmethod
    def image(cls, source: ImageSource) -> Query:
        """A lone image."""
        return cls((QueryPart(source, "image"),))

    @classmethod
    def parse(cls, words: Sequence[str], *, files: bool = True) -> Query:
        """A query out of the words of a command line.

        ``+`` and ``-`` alone begin a part, ``2:`` before it is its weight; other words that follow each other are one
        text.

        Args:
            files: names of image files are images. Not for words that come from elsewhere: they would open any file
                here.

        Raises:
            ConfigError: a sign with nothing after it, or nothing at all.
        """
        groups: list[tuple[float, list[str]]] = [(1.0, [])]
        for word in words:
            if word in ("+", "-"):
                if groups[-1][1]:
                    groups.append((0.0, []))
                elif len(groups) > 1:
                    raise ConfigError(
                        f"{groups[-1][0]:+.0f}"[0] + " is followed by another sign; put a text or an image there"
                    )
                groups[-1] = (1.0 if word == "+" else -1.0, [])
            else:
                groups[-1][1].append(word)
        if not any(word.strip() for word in groups[-1][1]):
            raise ConfigError(
                'nothing to search for; name a text or an image file, as in: ./cat.jpg + "at night" - people'
            )
        return cls(tuple(part for sign, group in groups for part in _parts(sign, group, files)))


def _parts(sign: float, words: list[str], files: bool) -> list[QueryPart]:
    """A group's image files are parts of their own, the words between them texts."""
    parts: list[QueryPart] = []
    text: list[str] = []

    def end_text() -> None:
        if text:
            weight, rest = _weighted(" ".join(text))
            parts.append(QueryPart(rest, "text", sign * weight))
            text.clear()

    for word in words:
        weight, name = _weighted(word)
        if files and kind_of_argument(name, bare=len(words) == 1) == "image":
            why = why_no_image(name) if kind_of(name) == "text" else None
            if why is not None:
                raise ConfigError(f"{name}: {why}; words are searched for where they do not look like a path")
            end_text()
            parts.append(
                QueryPart(name if name[:5].lower() == "data:" else Path(name).expanduser(), "image", sign * weight)
            )
        else:
            text.append(word)
    end_text()
    return parts


def _weighted(word: str) -> tuple[float, str]:
    found = _WEIGHT.match(word)
    return (1.0, word) if found is None else (float(found.group(1)), word[found.end() :])


def query_vector(encoder: Encodes, query: Query) -> Vectors:
    """The sum of the parts' vectors by their weights, of length one: (E,).

    Raises:
        InputError: a part that cannot be embedded.
        ConfigError: the parts add up to nothing.
    """
    total = np.zeros(encoder.dim, np.float32)
    for part in query.parts:
        total += np.float32(part.weight) * _vector(encoder, part)
    norm = float(np.linalg.norm(total))
    if norm < 1e-6:
        raise ConfigError("the parts of the query cancel each other out; change a weight or leave one away")
    return total / np.float32(norm)


def _vector(encoder: Encodes, part: QueryPart) -> Vectors:
    try:
        if part.kind == "text":
            return encoder.encode_text(str(part.source))
        return encoder.encode_image(part.source)
    except ItemsError as error:  # there is one item, so its reason says all
        raise InputError(error.failures[0]) from error
