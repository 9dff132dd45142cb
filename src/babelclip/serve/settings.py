"""What an operator may set about a server.

A file of its own because the command line, the application and its parts read it, and it imports none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from babelclip.errors import ConfigError
from babelclip.prepare.open_image import ImageLimits
from babelclip.prepare.pixel_budget import BYTES_PER_PIXEL
from babelclip.runtime.choose import RuntimeName
from babelclip.serve.access.origins import check_origin
from babelclip.serve.body_budget import FREE_BYTES
from babelclip.serve.images.fetch_image import FetchPolicy
from babelclip.serve.items import ItemLimits
from babelclip.serve.sub_path import check_sub_path

Mode = Literal["api", "sagemaker"]
"""Which routes there are: the APIs, or those of a container on SageMaker."""
Guarded = Literal["models", "metrics", "openapi"]
"""The list of models and what they are; Prometheus metrics; the document of all routes."""
MEMORY_PER_BYTE = 4
"""Of a body: as it is read it is let go of, and a character takes four bytes where one of its text is beyond 65,535."""
CONSTANT_MEMORY = 64 * 2**20
"""For texts that are being tokenized (slices, however long they are) and for values that are refused."""
DECODING_CONSTANT = 128 * 2**20
"""For files of images that wait, and for what the model makes of those that are decoded."""
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeSettings:
    """What each model runs on, as ``babelclip.load`` takes it."""

    runtime: RuntimeName = "auto"
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    revision: str | None = None  # of a model on the hub

    def worker_options(self) -> list[str]:
        """As the worker process takes them; the revision is of the folder, which it is given."""
        named = {"runtime": self.runtime, "device": self.device, "dtype": self.dtype, "threads": self.threads}
        return [f"--{name}={value}" for name, value in named.items() if value is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Defaults are for a server that strangers can reach."""

    mode: Mode = "api"
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    served_names: tuple[str, ...] = ()  # further names under which the model answers; its own always does
    root_path: str = ""  # before every path, where a proxy passes on what it has below one: /embeddings
    keys_for: tuple[Guarded, ...] = ()  # what tells about the server, and asks for a key too
    cors_origins: tuple[str, ...] = ()  # web pages that may ask from a browser, as https://app.example.org; "*": all
    max_items: int = 2048  # of one request; OpenAI's contract, to which its clients cut lists
    truncate: bool = False  # texts over a model's limit are cut where a request does not say whether
    max_body_bytes: int = 64 * 2**20
    max_held_bytes: int = 80 * 2**20  # of the bodies of all requests that are under way; others wait for room
    max_json_values: int = 50_000  # of one body: fields, items and their parts; each may take 250 bytes of memory
    body_seconds: float = 30.0  # in which a body must have come in
    answer_seconds: float = 120.0  # in which it must have been answered after that
    image_limits: ImageLimits = field(
        default_factory=lambda: ImageLimits(max_bytes=10 * 2**20, max_pixels=50_000_000, formats=IMAGE_FORMATS)
    )
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    decoding_threads: int = 4  # that read headers and count tokens
    strict_fields: bool = False  # a field that is not known is an error rather than ignored and named in a header
    cache: Path | None = None  # a folder for vectors that were computed before; None: none are kept
    cache_bytes: int = 2 * 2**30  # of vectors; the longest unused go first
    max_connections: int = 1024  # at once, and fewer where the process may not open as many files
    max_waiting: int = 128  # requests of one key that wait for their turn; 0: what is too many at once is refused
    wait_seconds: float = 20.0  # for which one waits for its turn, or for room for its body
    drain_seconds: float = 25.0  # from SIGTERM to the end of the process; all but the last 3 to finish the rest

    def __post_init__(self) -> None:
        counts = (self.max_items, self.max_body_bytes, self.decoding_threads, self.cache_bytes, self.max_held_bytes)
        seconds = (self.drain_seconds, self.body_seconds, self.answer_seconds, self.wait_seconds)
        if min(*counts, self.max_json_values, self.max_connections) < 1 or self.max_waiting < 0 or min(seconds) <= 0:
            raise ConfigError(f"limits of a server are at least 1, found {self}")
        if self.max_held_bytes < self.max_body_bytes:
            raise ConfigError(
                f"all bodies together may have as many bytes as one at least: expected max_held_bytes of "
                f"{self.max_body_bytes:,} or more, found {self.max_held_bytes:,}"
            )
        if self.fetch.enabled and self.max_held_bytes < self.fetch.max_bytes:
            raise ConfigError(
                f"a fetched image must find room: expected max_held_bytes of {self.fetch.max_bytes:,} or more, "
                f"found {self.max_held_bytes:,}"
            )
        if "" in self.served_names:
            raise ConfigError("a served name cannot be empty")
        check_sub_path(self.root_path)
        for origin in self.cors_origins:
            check_origin(origin)

    @property
    def body_memory(self) -> int:
        """Bytes that the process which speaks HTTP takes at most for what clients send, beside what it has idle."""
        small = FREE_BYTES * self.max_connections
        return CONSTANT_MEMORY + MEMORY_PER_BYTE * (self.max_held_bytes + small)

    @property
    def pixels_at_once(self) -> int:
        """Pixels that a worker decodes at once: those of the largest image."""
        return self.image_limits.max_pixels

    @property
    def decoding_memory(self) -> int:
        """Bytes that the process of a model takes at most for images being decoded, beside what the model takes."""
        return DECODING_CONSTANT + BYTES_PER_PIXEL * self.pixels_at_once

    @property
    def item_limits(self) -> ItemLimits:
        """How much one request may carry."""
        return ItemLimits(self.max_items, self.image_limits.max_bytes)
