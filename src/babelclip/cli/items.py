"""What the user named: texts and images from arguments or from JSON lines, each with its place in the order."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.data_uri import is_image_uri
from babelclip.decode import parse_json
from babelclip.errors import ConfigError
from babelclip.prepare.arguments import kind_of_argument, why_no_image
from babelclip.prepare.kinds import Kind

_SHOWN = 80  # characters of an input that messages and result lines repeat of a data URI

_IN_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class InputItem:
    """One thing to embed. ``problem`` is set where it could not even be read; ``source`` is then what was there."""

    index: int
    kind: Kind
    source: str  # the text itself, a path or a data URI
    id: Any = None  # the "id" of a JSON line, handed on to the result
    problem: str | None = None

    @property
    def is_data_uri(self) -> bool:
        """Whether the image itself is in the argument."""
        return self.kind == "image" and self.source[:5].lower() == "data:"

    @property
    def shown(self) -> str:
        """The input as results repeat it: a data URI is cut, it may be megabytes."""
        return self.source[:_SHOWN] + "..." if self.is_data_uri else self.source

    @property
    def in_message(self) -> str:
        """The input as a message names it: of a long one its two ends."""
        shown = self.shown
        return shown if len(shown) <= _IN_MESSAGE else f"{shown[: _IN_MESSAGE // 2]}...{shown[-_IN_MESSAGE // 2 :]}"


def from_arguments(arguments: Sequence[str], forced: Kind | None) -> list[InputItem]:
    """The arguments of a command in their order.

    Raises:
        ConfigError: one is a folder, whose files are to be named instead.
    """
    items = []
    for index, argument in enumerate(arguments):
        kind = forced or kind_of_argument(argument)
        if forced is None and len(argument) < 255 and Path(argument).is_dir() and "/" in argument:
            raise ConfigError(f"{argument} is a folder; name its files, for instance {argument.rstrip('/')}/*.jpg")
        items.append(_named(index, kind, argument, forced))
    return items


def _named(index: int, kind: Kind, source: str, forced: Kind | None) -> InputItem:
    """An item whose kind was told by what it names; what cannot be opened says how its words are embedded."""
    typed = kind == "image" and forced is None and not is_image_uri(source)
    why = why_no_image(source) if typed else None
    if typed and source.startswith("~"):
        source = str(Path(source).expanduser())
    return InputItem(index, kind, source, problem=None if why is None else f"{why}; --text embeds the words themselves")


def from_json_lines(lines: Iterable[str], forced: Kind | None) -> Iterator[InputItem]:
    """One item per non-empty line: a JSON string, ``{"text": ...}`` or ``{"image": ...}``, with an optional ``"id"``.

    A line in another form becomes an item with a problem; it never stops the others.
    """
    full_lines = (line for line in lines if line.strip())
    for index, line in enumerate(full_lines):
        try:
            row = parse_json(line)
        except ValueError as error:
            yield InputItem(index, "text", line.strip()[:_SHOWN], problem=f"not a line of JSON: {error}")
            continue
        if isinstance(row, str):
            yield _named(index, forced or kind_of_argument(row, bare=False), row, forced)
            continue
        given = [kind for kind in ("text", "image") if isinstance(row, dict) and isinstance(row.get(kind), str)]
        if given == ["text"]:
            yield InputItem(index, "text", row["text"], row.get("id"))
        elif given == ["image"]:
            yield InputItem(index, "image", row["image"], row.get("id"))
        else:
            problem = 'expected a string, {"text": "..."} or {"image": "path or data URI"}'
            yield InputItem(index, "text", line.strip()[:_SHOWN], problem=problem)


def read_lines(path: Path) -> list[str]:
    """The lines of a file of text.

    Raises:
        ConfigError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8: {error}") from error


def read_input_items(arguments: Sequence[str], forced: Kind | None, *, stdin: bool) -> Iterable[InputItem]:
    """Items of a command line: its arguments, or JSON lines from stdin.

    Raises:
        ConfigError: there are none, or both.
    """
    if stdin and arguments:
        raise ConfigError("- (JSON lines from stdin) stands alone; put the other items into those lines")
    if stdin:
        return from_json_lines(sys.stdin, forced)
    if not arguments:
        raise ConfigError('nothing to do: name texts or image files, for instance "two dogs" cat.jpg, or - for stdin')
    return from_arguments(arguments, forced)
