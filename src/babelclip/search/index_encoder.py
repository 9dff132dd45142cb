"""What an index needs of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from babelclip.encodes import Encodes, StreamItem
from babelclip.prepare.open_image import ImageSource
from babelclip.reading import Reading


class IndexEncoder(Encodes, Protocol):
    """``Encoder`` and ``RemoteEncoder`` are such, and a server's own model."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    @property
    def reading(self) -> Reading | None:
        """What its scores mean; None where nobody has fitted that."""
        ...

    def facts(self) -> dict[str, str | int | None]:
        """What it is, its fingerprint among them."""
        ...

    def upright(self) -> IndexEncoder:
        """The same, but that photos are turned as their EXIF data say."""
        ...

    def stream(
        self,
        items: Iterable[str | ImageSource],
        *,
        kind: Literal["auto", "text", "image"] = "auto",
        dim: int | None = None,
    ) -> Iterator[StreamItem]:
        """Vectors or errors, in order, in constant memory."""
        ...
