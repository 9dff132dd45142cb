"""What ``babelclip serve`` can be told beside where it listens: limits, images, how a model runs.

Options have the names of the settings that they set, so that ``settings_of`` needs no list of them;
``tests/unit/cli/test_serve_settings.py`` finds a setting that has no option. Left out means the setting's own default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from babelclip.cli.options import DeviceOption, DtypeOption, RevisionOption, RuntimeOption, ThreadsOption

if TYPE_CHECKING:
    from babelclip.serve.settings import ComputeSettings

IMAGE = "image_"
FETCH = "fetch_"


@Parameter(name="*", group="Model")
@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What each model runs on."""

    runtime: RuntimeOption = "auto"
    device: DeviceOption = None
    dtype: DtypeOption = None
    threads: ThreadsOption = None
    revision: RevisionOption = None

    def settings(self) -> ComputeSettings:
        """As the server takes them."""
        from babelclip.serve.settings import ComputeSettings

        return ComputeSettings(**asdict(self))


@Parameter(name="*", group="Contract")
@dataclass(frozen=True, kw_only=True)
class ContractOptions:
    """What clients may ask for."""

    max_items: int | None = None
    """Items of one request; 2048 when left out."""
    truncate: bool | None = None
    """Cut texts over the model's limit where a request does not say whether to."""
    strict_fields: bool | None = None
    """Refuse fields that the server does not know, instead of naming them in a header."""
    cors_origins: Annotated[tuple[str, ...] | None, Parameter(name="--cors-origin")] = None
    """A web page that may ask from a browser, as https://app.example.org; * for all. Several times for several."""
    keys_for: tuple[Literal["models", "metrics", "openapi"], ...] | None = None
    """With --keys, what asks for a key too: the list of models, /metrics, /openapi.json. Several times for several."""


@Parameter(name="*", group="Limits")
@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What one request, and all together, may take."""

    max_body_bytes: int | None = None
    """Bytes of one body; 64 MiB when left out."""
    max_held_bytes: int | None = None
    """Bytes of all bodies under way; 80 MiB when left out."""
    max_json_values: int | None = None
    """Values in one body, fields and items alike; 50,000 when left out."""
    max_connections: int | None = None
    """Connections at once; 1,024 when left out, and fewer where the process may not open as many files."""
    max_waiting: int | None = None
    """Requests of one key that wait for their turn; 128 when left out, 0 refuses them at once."""
    wait_seconds: float | None = None
    """For which a request waits for its turn; 20 when left out."""
    body_seconds: float | None = None
    """In which a body must have come in; 30 when left out."""
    answer_seconds: float | None = None
    """In which a request must have been answered after that; 120 when left out."""
    drain_seconds: float | None = None
    """In which the server ends after SIGTERM or Ctrl-C; 25 when left out. What was accepted is finished until 3 seconds
    before that, and the rest gets 503 with Retry-After."""
    decoding_threads: int | None = None
    """Threads that read headers of images and count tokens; 4 when left out."""
    cache_bytes: Annotated[int | None, Parameter(name="--vector-cache-bytes")] = None
    """Bytes of vectors that --vector-cache keeps; 2 GiB when left out."""


@Parameter(name="*", group="Images")
@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What images may be, and from where they are fetched."""

    image_max_bytes: int | None = None
    """Bytes of an image's file; 10 MiB when left out."""
    image_max_pixels: int | None = None
    """Width times height of an image; 50,000,000 when left out."""
    image_max_side: int | None = None
    """Width, and height, of an image; 1,000,000 when left out."""
    image_formats: Annotated[tuple[str, ...] | None, Parameter(name="--image-format")] = None
    """A format that is taken, as Pillow names it; JPEG, PNG, WEBP, GIF, BMP and AVIF when left out. Several times for
    several."""
    fetch_allow_http: bool | None = None
    """With --fetch-urls, fetch images without TLS, too."""
    fetch_ports: Annotated[tuple[int, ...] | None, Parameter(name="--fetch-port")] = None
    """A port that images are fetched from; 80 and 443 when left out. Several times for several."""
    fetch_max_bytes: int | None = None
    """Bytes of an image that is fetched; 10 MiB when left out."""
    fetch_at_once: int | None = None
    """Images of one request that are fetched at once; 8 when left out."""
    fetch_max_redirects: int | None = None
    """Redirects that are followed; 3 when left out."""
    fetch_connect_seconds: float | None = None
    """In which a name must be found, and a connection made; 3 when left out."""
    fetch_total_seconds: float | None = None
    """In which an image must have been fetched; 8 when left out."""
    fetch_patience_seconds: float | None = None
    """For which the bytes of an image may pause; 2 when left out."""
    fetch_least_bytes_a_second: int | None = None
    """Bytes in a second below which fetching an image is given up; 1,024 when left out."""


def given(options: object, prefix: str = "") -> dict[str, Any]:
    """The settings that a group of options names, without the prefix; those that were left out are not among them."""
    values: dict[str, Any] = asdict(options)  # type: ignore[call-overload]
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if value is not None and name.startswith(prefix)
    }
