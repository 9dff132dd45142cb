"""What an operator may set about a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from babelclip.errors import ConfigError
from babelclip.prepare.open_image import ImageLimits
from babelclip.serve.fetch_image import FetchPolicy

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Defaults are for a server that strangers can reach."""

    served_names: tuple[str, ...] = ()  # further names under which the model answers; its own always does
    max_items: int = 512  # of one request
    max_body_bytes: int = 64 * 2**20
    image_limits: ImageLimits = field(
        default_factory=lambda: ImageLimits(max_bytes=10 * 2**20, max_pixels=50_000_000, formats=IMAGE_FORMATS)
    )
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    decoding_threads: int = 4  # that read headers and count tokens
    strict_fields: bool = False  # a field that is not known is an error rather than ignored and named in a header
    drain_seconds: float = 25.0  # what was accepted is finished within this when the server is stopped

    def __post_init__(self) -> None:
        if min(self.max_items, self.max_body_bytes, self.decoding_threads) < 1 or self.drain_seconds <= 0:
            raise ConfigError(f"limits of a server are at least 1, found {self}")
        if "" in self.served_names:
            raise ConfigError("a served name cannot be empty")
