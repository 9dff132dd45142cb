"""What the page can be told, alone (``babelclip ui``) and beside the API (``babelclip serve --ui``).

Options have the names of the settings that they set, with ``page_`` before them; left out means the setting's own
default. ``tests/unit/cli/test_page_settings.py`` finds a setting that has no option.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from babelclip.cli.serve_options import given

if TYPE_CHECKING:
    from babelclip.serve.settings import ServerSettings
    from babelclip.web.settings import PageSettings

_PREFIX = "page_"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """By which names the page is reached, and what one request to it, and all together, may take."""

    page_name: Annotated[tuple[str, ...] | None, Parameter(name="--page-name", show_default=False)] = None
    """A name by which the page is reached, where a proxy passes it on, as photos.example.org. Several times for
    several. This machine's own names and all addresses in numbers are answered without."""
    page_url: str | None = None
    """Where clients reach the server, where a proxy passes it on, as https://example.org/albums: the request that the
    playground shows goes there, and its name is one of the page's."""
    page_searches: int | None = None
    """Searches by words at once; 2 when left out."""
    page_searches_waiting: int | None = None
    """Searches by words that wait; 64 when left out."""
    page_uploads: int | None = None
    """Searches by an image and comparisons in the playground at once, each of one image at a time; 1 when left out."""
    page_uploads_waiting: int | None = None
    """Searches by an image and comparisons that wait; 8 when left out."""
    page_pictures: int | None = None
    """Pictures that are drawn at once; 3, but one less than there are cores, when left out."""
    page_pictures_waiting: int | None = None
    """Pictures that wait to be drawn; 240 when left out."""
    page_wheres: int | None = None
    """Pictures of where a text is seen that are made at once; 1 when left out."""
    page_wheres_waiting: int | None = None
    """Pictures of where a text is seen that wait; 8 when left out."""
    page_upload_bytes: int | None = None
    """Bytes of a body that is sent to the page; 32 MiB when left out."""
    page_upload_pixels: int | None = None
    """Width times height of an image that is sent to the page; 50,000,000 when left out. A JPEG may have 2.2 times as
    many to search by, and is decoded at half its size."""
    page_query_characters: int | None = None
    """Characters of each part of the page's address; 4,000 when left out."""
    page_query_parts: int | None = None
    """Parts of a query between + and -; 16 when left out."""
    page_hits: int | None = None
    """Hits that the page shows, one screen after the other; 3,000 when left out."""
    page_compared_items: int | None = None
    """Texts and images in the playground; 24 when left out."""
    page_compared_characters: int | None = None
    """Characters of all texts in the playground; 20,000 when left out."""

    def settings(self) -> PageSettings:
        """As the page takes them."""
        from babelclip.web.settings import PageSettings

        return PageSettings(**given(self, _PREFIX))


@Parameter(name="*", group="Limits")
@dataclass(frozen=True, kw_only=True)
class PageServerOptions:
    """The limits of the server that has the page alone: those of ``LimitOptions`` that concern it."""

    max_held_bytes: int | None = None
    """Bytes of all bodies under way; 80 MiB when left out."""
    max_connections: int | None = None
    """Connections at once; 256 when left out, and fewer where the process may not open as many files."""
    wait_seconds: float | None = None
    """For which a request waits for its turn; 20 when left out."""
    body_seconds: float | None = None
    """In which a body must have come in; 30 when left out."""
    answer_seconds: float | None = None
    """In which a request must have been answered after that; 120 when left out."""
    drain_seconds: float | None = None
    """In which the server ends after SIGTERM or Ctrl-C; 5 when left out. What was accepted is finished in the first
    half of that, and the rest gets 503 with Retry-After."""

    def settings(self, max_body_bytes: int, root_path: str) -> ServerSettings:
        """As the server takes them."""
        from babelclip.web.run import SERVER

        named = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(SERVER, max_body_bytes=max_body_bytes, root_path=root_path, **named)
