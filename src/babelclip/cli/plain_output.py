"""What is printed is plain: text of foreign origin cannot steer a terminal, and nothing fails for want of a letter.

The names of files, captions, EXIF data and what servers say pass through here on their way to stdout and stderr, of
every verb and of every log. A file of its own, because one place that cleans cannot be forgotten by a verb.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ud800-\udfff]"
)
r"""Control characters but \t and \n, what turns the direction of writing, and bytes of names that are no Unicode."""


def as_plain_text(text: str, encoding: str = "utf-8") -> str:
    r"""A text without what steers a terminal, and of letters that an encoding has: others are written as ``\uXXXX``.

    That form is JSON's too, so that JSON lines stay what they are.
    """
    text = _STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _has(encoding, letter) else _as_json(letter) for letter in text)
    return text


def on_one_line(text: object) -> str:
    r"""What somebody else named, as a part of a line: an end of line in it is written as ``\n``, and begins none."""
    return str(text).replace("\n", "\\n").replace("\t", "\\t")


def say(message: object) -> None:
    """A line on stderr that says whose it is, whatever the message holds."""
    print(f"babelclip: {on_one_line(message)}", file=sys.stderr, flush=True)


def make_output_plain() -> None:
    """From here on, stdout and stderr of this process write plain text."""
    sys.stdout = cast("TextIO", PlainStream(sys.stdout))
    sys.stderr = cast("TextIO", PlainStream(sys.stderr))


class PlainStream:
    """A stream of text that writes plain text to another one; ``buffer`` is for bytes that are meant as such."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.rich_proxied_file = stream  # bars and help are drawn by rich, with sequences of its own

    def write(self, text: str) -> int:
        """Write it cleaned; as many letters as were given count as written."""
        self._stream.write(as_plain_text(text, self._stream.encoding or "utf-8"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _as_json(letter: str) -> str:
    halves = letter.encode("utf-16-be")
    return "".join(f"\\u{halves[start : start + 2].hex()}" for start in range(0, len(halves), 2))
