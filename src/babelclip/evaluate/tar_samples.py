"""The files of a tar whose names pair them into samples (WebDataset order): ``<key>.webp`` with ``<key>.json``."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from babelclip.prepare.kinds import IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a tar, not yet read."""

    key: str
    suffix: str
    """Lower case, with its dot."""
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    @property
    def is_image(self) -> bool:
        """Whether the name says that it is an image."""
        return self.suffix in IMAGE_SUFFIXES

    def read(self) -> bytes:
        """Its content; of a streamed archive only before the next member is asked for."""
        stream = self.archive.extractfile(self.info)
        assert stream is not None, "members() gives regular files alone"
        return stream.read()


def members(archive: tarfile.TarFile) -> Iterator[Member]:
    """Its regular files in their order; directories and links are left out."""
    for info in archive:
        if info.isfile():
            key, dot, suffix = info.name.rpartition(".")
            yield Member(key, (dot + suffix).lower(), archive, info)
