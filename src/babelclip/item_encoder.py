"""What every encoder does alike: one item or many, mixed kinds, failures, progress.

An encoder says how items of one kind become vectors, one result an item (``ItemEncoder._call``); the methods that
people call stand here once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import length_hint
from types import TracebackType
from typing import Literal, Self, cast

import numpy as np

from babelclip.arrays import Vectors
from babelclip.encodes import StreamItem
from babelclip.errors import ConfigError, ImageError, InputError, ItemsError
from babelclip.prepare.cuts import Cuts
from babelclip.prepare.damages import Damages
from babelclip.prepare.kinds import is_one_image, is_one_text, kind_of
from babelclip.prepare.open_image import ImageSource
from babelclip.prepare.text import check_text
from babelclip.progress import show_progress

TEXTS_ONLY = "embeds texts only; choose a model with an image tower to embed images"

_Results = Callable[[Iterable[object]], Iterator[Vectors | InputError]]
"""Items of one kind -> a vector or an error each, in order."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call with its options, which are known to be right."""

    dim: int  # width of the vectors
    texts: _Results
    images: _Results
    cuts: Cuts = field(default_factory=Cuts)  # what ``texts`` adds up
    damages: Damages = field(default_factory=Damages)  # and ``images``


class ItemEncoder(ABC):
    """The half of an encoder that all encoders share."""

    name: str
    dim: int

    @property
    @abstractmethod
    def image_size(self) -> int | None:
        """Side in pixels of the square that the model sees; None where it embeds texts only."""

    @abstractmethod
    def _call(self, task: str | None, dim: int | None, normalize: bool, max_tokens: int | None) -> Call:
        """Begin a call.

        Raises:
            ConfigError: an option that the encoder does not have; nothing was computed.
            UnknownTask: the same of a task.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held open; the encoder cannot be used after that."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        """Vectors float32 (N, dim) in the order given; (dim,) for a lone str.

        Args:
            texts: one or many.
            task: one of the model's tasks, for its instruction and adapter.
            dim: any width from 1 to the model's; vectors are cut first and normalized then.
            normalize: to length one.
            max_tokens: a smaller limit than the model's; cuts are told by one ``TruncationWarning`` a call.
            progress: show a bar.

        Raises:
            ItemsError: some texts failed; it carries the vectors of all others.
            UnknownTask: the model has no such task; nothing was computed.
            ConfigError: an option that the model does not have; nothing was computed.
        """
        call = self._call(task, dim, normalize, max_tokens)
        return _collect(texts, is_one_text(texts), "texts", call.texts, call, progress)

    def encode_image(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        dim: int | None = None,
        normalize: bool = True,
        progress: bool = False,
    ) -> Vectors:
        """Vectors float32 (N, dim) in the order given; (dim,) for a lone image.

        Args:
            images: one or many; each a path, the bytes of a file, a binary file object, a PIL image, an array (H, W, 3)
                of uint8, or a data URI.
            dim: any width from 1 to the model's; vectors are cut first and normalized then.
            normalize: to length one.
            progress: show a bar.

        Warns:
            DamagedImageWarning: some are cut short or broken, and counted as far as they can be read.

        Raises:
            ItemsError: some images failed; it carries the vectors of all others.
            ConfigError: the model embeds texts only, or has no such width; nothing was computed.
        """
        call = self._call(None, dim, normalize, None)
        self._need_image_tower()
        return _collect(images, is_one_image(images), "images", call.images, call, progress)

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
        """Encode any number of items in constant memory: in order, each with its vector or its error.

        Options are those of ``encode_text``; wrong ones raise at once. The ``TruncationWarning`` comes at the end. An
        item says itself what failed, and what is damaged.

        Args:
            items: texts and images, as they come.
            kind: "auto" takes a str as a text, unless it ends like the name of an image file or begins as a data:image/
                URI, and all else as an image; "text" and "image" leave no doubt.
            task: of the texts.
            dim: of the vectors.
            normalize: to length one.
            max_tokens: of a text.

        Raises:
            UnknownTask: the model has no such task.
            ConfigError: an option that the model does not have, or images alone for one that embeds texts only.
        """
        if kind not in ("auto", "text", "image"):
            raise ConfigError(f"kind must be auto, text or image, found {kind!r}")
        call = self._call(task, dim, normalize, max_tokens)
        if kind == "image":
            self._need_image_tower()
        return self._streamed(items, kind, call)

    def _streamed(self, items: Iterable[object], kind: str, call: Call) -> Iterator[StreamItem]:
        images = self._no_images if self.image_size is None else call.images
        index = 0
        for chosen, run in groupby(items, lambda item: kind_of(item) if kind == "auto" else kind):
            for result in call.texts(run) if chosen == "text" else images(run):
                error = result if isinstance(result, InputError) else None
                damage = call.damages.of_last if error is None and chosen == "image" else None
                yield StreamItem(index, None if isinstance(result, InputError) else result, error, damage)
                index += 1
        call.cuts.warn(stacklevel=2)

    def _need_image_tower(self) -> None:
        if self.image_size is None:
            raise ConfigError(f"{self.name} {TEXTS_ONLY}")

    def _no_images(self, images: Iterable[object]) -> Iterator[InputError]:
        return (ImageError(f"{self.name} {TEXTS_ONLY}") for _ in images)


def checked(text: object) -> str | InputError:
    """The text, or the error that takes its place."""
    try:
        return check_text(text)
    except InputError as error:
        return error


def _collect(given: object, lone: bool, what: str, results: _Results, call: Call, progress: bool) -> Vectors:
    """All vectors; rows of failed items are NaN in the error that tells of them."""
    items = [given] if lone else cast("Iterable[object]", given)
    rows: list[Vectors] = []
    failures: dict[int, InputError] = {}
    with show_progress(what, length_hint(items), show=progress) as meter:
        for index, result in enumerate(results(items)):
            if isinstance(result, InputError):
                failures[index] = result
                result = np.full(call.dim, np.nan, np.float32)
            rows.append(result)
            meter.advance()
    vectors = np.stack(rows) if rows else np.empty((0, call.dim), np.float32)
    call.cuts.warn(stacklevel=3)
    call.damages.warn(stacklevel=3)
    if failures:
        reasons = {index: str(error) for index, error in failures.items()}
        raise ItemsError(reasons, vectors) from next(iter(failures.values()))
    return vectors[0] if lone else vectors
