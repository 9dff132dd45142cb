"""What an argument of a command line names: a file that is there is a file, whatever it is called.

An item of the library is data and never looked up on the disk (``kinds``); what somebody types is. A name that was
taken for words would be embedded in silence.
"""

from __future__ import annotations

import re
from pathlib import Path

from babelclip.prepare.kinds import Kind, kind_of
from babelclip.prepare.recognize import HEAD_BYTES, format_of

DOCUMENT_SUFFIXES = frozenset({".pdf", ".txt", ".md", ".rst", ".srt", ".vtt"})
"""Files of texts and pages, which an index reads and no tower does."""
_ANCHORED = re.compile(r"~?/|\.{1,2}[/\\]|[A-Za-z]:[\\/]")
_LONGEST = 4096
"""Characters of a path, at most."""


def is_file(argument: str) -> bool:
    """Whether there is such a file."""
    try:
        return len(argument) <= _LONGEST and Path(argument).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, no such user
        return False


def looks_like_path(argument: str) -> bool:
    """Whether an argument is written as a path: from / or ./ on, or one word with a suffix that files have."""
    if _ANCHORED.match(argument):
        return True
    if len(argument.split()) != 1 or "://" in argument:
        return False
    suffix = Path(argument[-255:]).suffix.lower()
    return suffix in DOCUMENT_SUFFIXES or ("/" in argument and re.fullmatch(r"\.[a-z]\w{0,4}", suffix) is not None)


def kind_of_argument(argument: str, *, bare: bool = True) -> Kind:
    """As the library tells a text from an image, and an image too what names a file or is written as a path.

    Args:
        argument: what was typed.
        bare: whether a word without a dot or a separator may name a file; not where it stands among other words.
    """
    if kind_of(argument) == "image" or looks_like_path(argument):
        return "image"
    return "image" if (bare or re.search(r"[./\\]", argument)) and is_file(argument) else "text"


def why_no_image(path: str) -> str | None:
    """Why what is written as a path names no image; None where it may name one."""
    if not is_file(path):
        return "is a folder, not an image file" if _is_folder(path) else "no such file"
    if Path(path).suffix.lower() in DOCUMENT_SUFFIXES and not _begins_as_image(path):
        return "is a document, not an image: babelclip index --documents reads it"
    return None


def _is_folder(path: str) -> bool:
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):  # as in is_file
        return False


def _begins_as_image(path: str) -> bool:
    """Whether a file's first bytes are those of an image, whatever its name says."""
    try:
        with Path(path).expanduser().open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return b"\0" in head and format_of(head) not in (None, "PDF")
