"""Pictures of indexed photos and pages, always drawn anew: no byte of a file is ever served as it is."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePath

from PIL import Image

from babelclip.atomic_write import write_bytes
from babelclip.errors import ImageError
from babelclip.search.index import Index
from babelclip.search.known_files import is_below
from babelclip.search.open_photo import open_indexed
from babelclip.search.store import Row
from babelclip.search.thumbnail import SIDE, thumbnail, thumbnail_folder
from babelclip.search.walk import exact_path, path_text

LARGE_SIDE = 1600
"""Pixels of the longer side in the lightbox."""


class Pictures:
    """Small pictures are kept in the user's cache, under the digest of the photo's bytes."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def row(self, id: str) -> Row:
        """A photo or page of the index.

        Raises:
            ImageError: it is none, or lies in no indexed folder.
        """
        store = self._index.store()
        row = None if store is None else store.get([id])[0]
        if row is None or row.kind not in ("image", "page"):
            raise ImageError("there is no such photo or page in the index")
        path = path_text(exact_path(row.metadata))
        if not any(_lies_in(path, folder) for folder in self._index.folders()):
            raise ImageError("it lies outside the indexed folders")
        return row

    def small(self, id: str) -> bytes:
        """A WebP picture for the grid.

        Raises:
            ImageError: there is no such photo, or its file cannot be opened.
        """
        row = self.row(id)
        digest = str(row.metadata.get("digest", ""))
        page = f"-page{row.metadata['page']}" if row.kind == "page" else ""
        path = thumbnail_folder(self._index.database.url) / digest[:2] / f"{digest}{page}-{SIDE}.webp"
        if digest.isalnum() and path.is_file():
            return path.read_bytes()
        picture = thumbnail(row.kind, row.metadata, SIDE)
        if digest.isalnum() and _is_as_indexed(row):
            _keep(path, picture)
        return picture

    def large(self, id: str) -> bytes:
        """A WebP picture for the lightbox.

        Raises:
            ImageError: there is no such photo, or its file cannot be opened.
        """
        row = self.row(id)
        return thumbnail(row.kind, row.metadata, LARGE_SIDE)

    def whole(self, id: str) -> Image.Image:
        """The photo or page itself, upright, to be looked at by the model.

        Raises:
            ImageError: there is no such photo, or its file cannot be opened.
        """
        row = self.row(id)
        return open_indexed(row.kind, row.metadata)


def _lies_in(path: str, folder: str) -> bool:
    """Whether a file is this one or below this folder, also where ``..`` would lead out of it."""
    return is_below(path, folder) and ".." not in PurePath(path.removeprefix(folder)).parts


def _is_as_indexed(row: Row) -> bool:
    """Whether the file has not changed since: else the digest is of another picture than it now shows."""
    try:
        found = exact_path(row.metadata).stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (row.metadata.get("size"), row.metadata.get("mtime_ns"))


def _keep(path: Path, content: bytes) -> None:
    """A full disk costs only the cache."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content, durable=False)
