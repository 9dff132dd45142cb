"""Base64 and data URIs: the one place where files and numbers become text and text becomes bytes again.

What is wrong with a text is said by its reader, which knows where the text came from; here is only how it is written.
"""

from __future__ import annotations

import base64
import re
import string
from dataclasses import dataclass

_HEAD = re.compile(r"data:(?P<media_type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DataUriHead:
    """What stands before the data."""

    media_type: str  # in lower case
    is_base64: bool
    length: int  # in characters: the data begin here


def read_head(text: str) -> DataUriHead | None:
    """The head of a data URI, whatever its data are; None for another text."""
    match = _HEAD.match(text)
    if match is None:
        return None
    return DataUriHead(match["media_type"].lower(), "base64" in match["parameters"].lower().split(";"), match.end())


def is_image_uri(text: str) -> bool:
    """Whether a text is meant as the data URI of an image, complete or not: such a text is never meant as words."""
    return text[:11].lower() == "data:image/"


def image_uri(content: bytes, subtype: str) -> str:
    """The data URI of an image file.

    Args:
        content: the file's bytes.
        subtype: ``webp`` of ``image/webp``.
    """
    return f"data:image/{subtype};base64,{to_base64(content)}"


def to_base64(content: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(content).decode("ascii")


def from_base64(text: str, *, may_lack_padding: bool = False) -> bytes:
    """The bytes of a text; white space in it, line ends above all, counts for nothing.

    Args:
        may_lack_padding: take a text without the ``=`` at its end, which some clients leave out.

    Raises:
        ValueError: a character that base64 has not, or a wrong length.
    """
    packed = "".join(text.split()) if any(space in text for space in string.whitespace) else text
    padding = "=" * (-len(packed) % 4) if may_lack_padding else ""
    return base64.b64decode(packed + padding, validate=True)
