"""Files of every kind that people have, each with what a verb that reads pictures makes of it."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

PICTURE, DAMAGED = "picture", "damaged"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "HEIF")
DOCUMENT = "is a document, not an image"
"""The reason of verbs of which each argument may be words."""


def picture(kind: str = "JPEG") -> bytes:
    """A small scene that is not of one color."""
    noise = np.random.default_rng(7).integers(0, 60, (60, 80, 3), dtype=np.uint8)
    image, file = Image.fromarray(noise + np.arange(60, dtype=np.uint8)[:, None, None]), io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(file, quality=80)
    else:
        image.save(file, kind)
    return file.getvalue()


def document() -> bytes:
    """A PDF document of one page."""
    file = io.BytesIO()
    Image.open(io.BytesIO(picture())).save(file, "PDF")
    return file.getvalue()


def archive(kind: str) -> bytes:
    """A ZIP or tar archive with a photo in it."""
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as zipped:
            zipped.writestr("a.jpg", picture())
    else:
        with tarfile.open(fileobj=file, mode="w") as packed:
            entry = tarfile.TarInfo("a.jpg")
            entry.size = len(picture())
            packed.addfile(entry, io.BytesIO(picture()))
    return file.getvalue()


def unreadable(path: Path) -> None:
    """A file that is there and cannot be read, by root neither."""
    path.symlink_to("/proc/self/mem")


def loop(path: Path) -> None:
    """A link that leads to itself."""
    path.symlink_to(path)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file."""

    name: str  # of the file
    content: bytes | Callable[[Path], object]  # or what makes it at its path
    shown: str  # PICTURE, DAMAGED, or what is said where it is opened as a picture
    typed: str | None = None  # ... by verbs of which each argument may be words; None: the same
    indexed: str | None = None  # ... by index, where it is named; None: the same
    found: str | None = None  # ... by index --documents of its folder; "" where it is passed over; None: as named

    @property
    def as_typed(self) -> str:
        return self.shown if self.typed is None else self.typed

    @property
    def as_indexed(self) -> str:
        return self.shown if self.indexed is None else self.indexed

    @property
    def as_found(self) -> str:
        return self.as_indexed if self.found is None else self.found


def odd(label: str) -> bytes:
    """Bytes of a name that hold what a terminal or a line of output may trip over."""
    return {
        "newline": b"one\nbabelclip: two.jpg",
        "control": b"red\x1b[31m\x07.jpg",
        "bidi": "a\u202egpj.exe.jpg".encode(),
        "no Unicode": b"\xff\xfe.jpg",
        "hyphen": b"--index.jpg",
        "carriage return": b"over\rwritten.jpg",
        "blank": b" a  b .jpg",
        "format": b"%s {0} $HOME `id`.jpg",
        "long": b"x" * 251 + b".jpg",
    }[label]


ODD = ("newline", "control", "bidi", "no Unicode", "hyphen", "carriage return", "blank", "format", "long")
ABSENT, NOT_THERE = "no such file", "there is no such file or folder"
NO_IMAGE = "is none of the accepted formats"
KINDS: dict[str, Kind] = {
    **{f"photo, {each}": Kind(f"photo.{each.lower()}", picture(each), PICTURE) for each in FORMATS if each != "HEIF"},
    "photo, HEIC": Kind("photo.heic", picture("HEIF"), PICTURE),
    "HEIC named JPEG": Kind("photo.jpg", picture("HEIF"), PICTURE),
    "JPEG named HEIC": Kind("IMG_0001.heic", picture(), PICTURE),
    "photo of unknown suffix": Kind("photo.x3f", picture(), PICTURE, found=""),
    "photo without suffix": Kind("IMG_0001", picture(), PICTURE, found=""),
    "photo named as a text": Kind("photo.txt", picture(), PICTURE),
    "JPEG cut short": Kind("cut.jpg", picture()[:-700], DAMAGED),
    "PNG cut short": Kind("cut.png", picture("PNG")[:-4000], DAMAGED),
    "HEIC cut short": Kind("cut.heic", picture("HEIF")[:-200], "broken, cut short or unsupported"),
    "AVIF cut short": Kind("cut.avif", picture("AVIF")[:-200], "broken, cut short or unsupported"),
    "JPEG, its head alone": Kind("head.jpg", picture()[:30], "header is broken or cut short"),
    "text": Kind("note.txt", b"a line of text", NO_IMAGE, DOCUMENT, PICTURE),
    "text of unknown suffix": Kind("note.xyz", b"a line of text", NO_IMAGE, found=""),
    "text with a photo's suffix": Kind("note.jpg", b"a line of text", NO_IMAGE),
    "text that is none": Kind("note.md", b"\xff\x00\xfe\x01" * 9, NO_IMAGE, DOCUMENT, "holds NUL|neither UTF-8"),
    "PDF": Kind("scan.pdf", document(), "is a PDF document", DOCUMENT, PICTURE),
    "PDF cut short": Kind("cut.pdf", document()[:60], "is a PDF document", DOCUMENT, "broken or needs a password"),
    "PDF named JPEG": Kind("scan.jpg", document(), "is a PDF document"),
    "ZIP archive": Kind("album.zip", archive("zip"), "is a ZIP archive", found=""),
    "tar archive": Kind("album.tar", archive("tar"), NO_IMAGE, found=""),
    "folder": Kind("folder", lambda path: path.mkdir(), "is a folder", indexed=""),
    "missing": Kind("absent.jpg", lambda path: None, ABSENT, indexed=NOT_THERE, found=""),
    "empty": Kind("empty.jpg", b"", "there are no bytes in it"),
    "unreadable": Kind("closed.jpg", unreadable, "Input/output error", found="Input/output error|no bytes"),
    "link loop": Kind("loop.jpg", loop, ABSENT, indexed=NOT_THERE, found="symbolic links"),
    "dangling link": Kind(
        "gone.jpg", lambda path: path.symlink_to("/absent"), ABSENT, indexed=NOT_THERE, found="No such file"
    ),
    "pipe": Kind("pipe.jpg", lambda path: os.mkfifo(path), "no such file|is a device or pipe", indexed="", found=""),
    **{f"name with {each}": Kind(os.fsdecode(odd(each)), picture(), PICTURE) for each in ODD},
    **{f"broken, name with {each}": Kind(os.fsdecode(odd(each)), b"GIF8 x", "header is broken") for each in ODD},
}


def make(kind: Kind, folder: Path) -> Path:
    """The file in a folder."""
    path = folder / kind.name
    if callable(kind.content):
        kind.content(path)
    else:
        path.write_bytes(kind.content)
    return path
