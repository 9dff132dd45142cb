"""What an operator may set about the page.

A file of its own because the command line and the page's parts read it, and it imports none of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from babelclip.errors import ConfigError
from babelclip.prepare.open_image import UPLOADS, ImageLimits
from babelclip.prepare.pixel_budget import BYTES_PER_PIXEL


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSettings:
    """Defaults are for a page that strangers can reach.

    Of each kind of costly work so much is done at once, in threads of its own, and so much waits; more is refused.
    """

    name: tuple[str, ...] = ()  # by which the page is reached, beside this machine's own
    url: str = ""  # where clients reach the server, where that is not how it is asked: https://example.org/albums
    searches: int = 2  # by words, at once; each keeps a core busy for some hundredths of a second
    searches_waiting: int = 64
    uploads: int = 1  # searches by an image, and comparisons in the playground: each decodes one image at a time
    uploads_waiting: int = 8
    pictures: int = max(1, min(3, (os.cpu_count() or 1) - 1))  # that are drawn; a core is left for searching
    pictures_waiting: int = 240  # four pages of small ones
    wheres: int = 1  # pictures of where a text is seen; each takes a hundred times what a search does
    wheres_waiting: int = 8
    upload_bytes: int = 32 * 2**20  # of a body: what a photo has, and not much more
    upload_pixels: int = UPLOADS.max_pixels  # of an image that is sent, and is decoded at its own size
    query_characters: int = 4000  # of each part of an address
    query_parts: int = 16  # texts of a query, between its signs: each is a run of the model
    hits: int = 3000  # that can be shown, one page after the other
    compared_items: int = 24  # texts and images in the playground
    compared_characters: int = 20_000  # of these texts together

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.endswith("_waiting") else 1
            if isinstance(value, int) and value < least:
                raise ConfigError(f"--page-{field.name.replace('_', '-')}: expected {least} or more, found {value}")
        if self.url:
            _check_url(self.url)

    @property
    def own_names(self) -> frozenset[str]:
        """As requests spell them."""
        named = (*self.name, urlsplit(self.url).hostname or "")
        return frozenset(name.lower().rstrip(".") for name in named) - {""}

    @property
    def upload_memory(self) -> int:
        """Bytes that images which are sent take at most while they are decoded, beside what the bodies hold."""
        return BYTES_PER_PIXEL * self.upload_pixels * self.uploads

    @property
    def upload_limits(self) -> ImageLimits:
        """Of an image that is sent."""
        return ImageLimits(max_bytes=self.upload_bytes, max_pixels=self.upload_pixels)


def _check_url(url: str) -> None:
    try:
        found = urlsplit(url)
        is_url = found.scheme in ("http", "https") and bool(found.hostname) and not (found.query or found.fragment)
        _ = found.port
    except ValueError:
        is_url = False
    if not is_url:
        raise ConfigError(f"--page-url: expected an address as https://example.org/albums, found {url!r}")
