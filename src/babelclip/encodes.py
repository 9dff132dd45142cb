"""What an encoder is, whoever computes the vectors: ``Encoder`` in this process, ``RemoteEncoder`` on a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from babelclip.arrays import Vectors
from babelclip.errors import InputError
from babelclip.prepare.open_image import ImageSource
from babelclip.score_calibration import ScoreCalibration


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One item of a stream: a vector, or the error that took its place."""

    index: int  # position in what was given
    vector: Vectors | None  # (dim,)
    error: InputError | None = None
    damage: str | None = None  # what is wrong with an image of which only a part could be read


class Encodes(Protocol):
    """Anything that gives vectors: an ``Encoder``, or something that stands for one."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector when none is asked for."""
        ...

    @property
    def dims(self) -> tuple[int, ...]:
        """The widths that the model was trained for, ascending; the last is ``dim``."""
        ...

    @property
    def image_size(self) -> int | None:
        """Side in pixels of the square that the model sees; None where it embeds texts only."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """The model's whole context in tokens, special tokens included; None where a server does not tell it."""
        ...

    @property
    def logit_scale(self) -> float | None:
        """What the model multiplies cosines of a text and an image by before a softmax; None where nobody tells it."""
        ...

    @property
    def calibration(self) -> ScoreCalibration | None:
        """What the model's scores mean; None where nobody has fitted that."""
        ...

    def facts(self) -> dict[str, str | int | None]:
        """What it is, its fingerprint among them."""
        ...

    def upright(self) -> Encodes:
        """The same, but that images are as a viewer shows them: turned, on white paper, in their profile's colors."""
        ...

    def encode_text(
        self,
        texts: str | Iterable[str],
        *,
        task: str | None = None,
        dim: int | None = None,
        normalize: bool = True,
        max_tokens: int | None = None,
        progress: bool = False,
    ) -> Vectors:
        """float32 (N, dim); (dim,) for a lone str."""
        ...

    def encode_image(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        dim: int | None = None,
        normalize: bool = True,
        progress: bool = False,
    ) -> Vectors:
        """float32 (N, dim); (dim,) for a lone image."""
        ...

    def stream(
        self,
        items: Iterable[str | ImageSource],
        *,
        kind: Literal["auto", "text", "image"] = "auto",
        task: str | None = None,
        dim: int | None = None,
        normalize: bool = True,
        max_tokens: int | None = None,
    ) -> Iterator[StreamItem]:
        """Vectors or errors, in order, in constant memory."""
        ...

    def close(self) -> None:
        """Let go of what it holds open."""
        ...
