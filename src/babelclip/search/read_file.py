"""A file becomes what is embedded: a photo, the pages of a document, the pieces of a text, each with its metadata."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

from babelclip.errors import ImageError, TextError
from babelclip.prepare.open_image import ImageSource, read_file
from babelclip.prepare.recognize import HEAD_BYTES, format_of
from babelclip.search.filters import Scalar
from babelclip.search.optional_formats import pdf_pages
from babelclip.search.photo_facts import photo_facts
from babelclip.search.walk import FoundFile, path_text

_Part = tuple[str, ImageSource | str, dict[str, Scalar]]
"""Kind, what is embedded, and what is known of it."""
PIECE = 1000
"""Characters of a piece of a text, about: paragraphs are put together up to this."""
LARGEST_TEXT = 16 * 2**20
"""Bytes; a larger text file is hardly one to read."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """One thing to embed: it becomes a row."""

    number: int  # within its file
    kind: str  # image, page or text
    source: ImageSource | str
    metadata: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that could be read."""

    file: FoundFile
    digest: str  # of its bytes: a moved or copied file is known by it
    parts: list[FilePart] = field(default_factory=list)  # none where the digest was known
    damage: str | None = None  # what of it could not be read


def load_file(file: FoundFile, known: Container[str]) -> Loaded:
    """Read a file whole; one whose digest is ``known`` is not taken apart.

    Raises:
        InputError: it cannot be read; the message names it and the reason.
    """
    content = _read(file)
    digest = blake2b(content, digest_size=16).hexdigest()
    if digest in known:
        return Loaded(file, digest)
    shared = file_facts(file) | {"digest": digest}
    found, damage = _parts(file, content)
    parts = [
        FilePart(number, kind, source, shared | facts | {"parts": len(found)})
        for number, (kind, source, facts) in enumerate(found)
    ]
    return Loaded(file, digest, parts, damage)


def format_of_file(path: Path) -> str | None:
    """What a file's first bytes say it is, as ``format_of``; None too where it cannot be read."""
    try:
        with path.open("rb") as file:
            return format_of(file.read(HEAD_BYTES))
    except OSError:
        return None


def by_bytes(file: FoundFile) -> FoundFile:
    """A file that is named as a text and holds a picture or a PDF document is that; any other as it is."""
    if file.kind != "text":
        return file
    try:
        with file.path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:  # reading it says so
        return file
    format = format_of(head) if b"\0" in head or head.startswith(b"%PDF") else None
    return file if format is None else replace(file, kind="pdf" if format == "PDF" else "image")


def file_facts(file: FoundFile) -> dict[str, Scalar]:
    """What every row of a file carries. ``path_bytes`` stands where the name is no Unicode."""
    modified = datetime.fromtimestamp(file.mtime_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts: dict[str, Scalar] = {"size": file.size, "mtime_ns": file.mtime_ns, "modified": modified}
    return path_facts(file) | facts


def path_facts(file: FoundFile) -> dict[str, Scalar]:
    """Where a file lies."""
    text = path_text(file.path)
    raw = str(file.path).encode("utf-8", "surrogateescape")
    exact: dict[str, Scalar] = {} if text.encode() == raw else {"path_bytes": raw.hex()}
    return {"path": text, "name": path_text(file.path.relative_to(file.path.parent)), **exact}


def _read(file: FoundFile) -> bytes:
    if file.kind != "text":
        return read_file(file.path)
    if file.size > LARGEST_TEXT:
        raise TextError(f"text {path_text(file.path)!r}: has {file.size:,} bytes, the limit is {LARGEST_TEXT:,}")
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise TextError(f"text {path_text(file.path)!r}: {error.strerror or 'cannot be read'}") from error


def _parts(file: FoundFile, content: bytes) -> tuple[list[_Part], str | None]:
    """What a file holds, and what of it could not be read. Its bytes decide, not its name."""
    format = format_of(content)
    if file.kind == "text" and b"\0" not in content[:HEAD_BYTES]:
        return [("text", piece, {"text": piece}) for piece in pieces(_decoded(file, content))], None
    if format == "PDF" and file.kind != "image":
        pages = [(number, page) for number, page in pdf_pages(content)]
        good: list[_Part] = [("page", page, {"page": number}) for number, page in pages if page is not None]
        broken = [str(number) for number, page in pages if page is None]
        if not good:
            raise ImageError("PDF document: none of its pages can be shown")
        return good, f"of {len(pages):,} pages some are broken: {', '.join(broken[:20])}" if broken else None
    if format is None and file.kind == "text":
        _decoded(file, content)  # says what is wrong with it
    return [("image", content, photo_facts(content))], None


def _decoded(file: FoundFile, content: bytes) -> str:
    name = f"text {path_text(file.path)!r}"
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextError(f"{name}: is neither UTF-8 nor UTF-16; convert it first") from error
    if "\x00" in text:
        raise TextError(f"{name}: holds NUL, so it is no text")
    if not text.strip():
        raise TextError(f"{name}: there is no text in it")
    return text


def pieces(text: str) -> list[str]:
    """Paragraphs, short ones put together and long ones cut at sentences or words, each about ``PIECE`` characters."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        for part in _cut(" ".join(paragraph.split())):
            if found and len(found[-1]) + len(part) < PIECE:
                found[-1] = f"{found[-1]}\n{part}"
            elif part:
                found.append(part)
    return found


def _cut(paragraph: str) -> Iterator[str]:
    while len(paragraph) > PIECE:
        ends = [match.end() for match in re.finditer(r"[.!?。！？।؟]\s?|\s", paragraph[:PIECE])]
        sentences = [match.end() for match in re.finditer(r"[.!?。！？।؟]\s?", paragraph[:PIECE])]
        end = next((end for end in (sentences[-1:] + ends[-1:]) if end > PIECE // 2), PIECE)
        yield paragraph[:end].strip()
        paragraph = paragraph[end:]
    if paragraph.strip():
        yield paragraph.strip()
