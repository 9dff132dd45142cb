"""A file becomes what is embedded: a photo, the pages of a document, the pieces of a text, each with its metadata."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b

from babelclip.errors import TextError
from babelclip.prepare.open_image import DEFAULT_LIMITS, ImageSource, read_file
from babelclip.search.filters import Scalar
from babelclip.search.optional_formats import heif_image, pdf_pages
from babelclip.search.photo_facts import photo_facts
from babelclip.search.walk import FoundFile, path_text

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
    parts = [
        FilePart(number, kind, source, shared | facts)
        for number, (kind, source, facts) in enumerate(_parts(file, content))
    ]
    for part in parts:
        part.metadata["parts"] = len(parts)
    return Loaded(file, digest, parts)


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


def _parts(file: FoundFile, content: bytes) -> Iterator[tuple[str, ImageSource | str, dict[str, Scalar]]]:
    if file.kind == "image":
        yield "image", content, photo_facts(content)
    elif file.kind == "heif":
        image = heif_image(content, DEFAULT_LIMITS)
        yield "image", image, photo_facts(image)
    elif file.kind == "pdf":
        for number, page in enumerate(pdf_pages(content), start=1):
            yield "page", page, {"page": number}
    else:
        for piece in pieces(_decoded(file, content)):
            yield "text", piece, {"text": piece}


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
