"""Anything that gives vectors: what it must have, and how its results are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import length_hint
from typing import Protocol, cast

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, InputError, ItemsError
from babelclip.prepare.cuts import Cuts
from babelclip.prepare.kinds import is_one_image, is_one_text, kind_of
from babelclip.prepare.open_image import ImageSource
from babelclip.prepare.text import check_text
from babelclip.progress import show_progress

TEXTS_ONLY = "embeds texts only; choose a model with an image tower to embed images"


class Encodes(Protocol):
    """Anything that gives vectors: an ``Encoder``, or something that stands for one."""

    @property
    def dim(self) -> int:
        """Width of a vector when none is asked for."""
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


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One item of a stream: a vector, or the error that took its place."""

    index: int  # position in what was given
    vector: Vectors | None  # (dim,)
    error: InputError | None = None


Results = Callable[[Iterable[object]], Iterator[Vectors | InputError]]
"""Items of one kind -> a vector or an error each, in order."""


def stream_by_kind(
    items: Iterable[object], kind: str, texts: Results, images: Results, at_end: Callable[[], None] = lambda: None
) -> Iterator[StreamItem]:
    """``Encodes.stream`` over what encodes either kind.

    Raises:
        ConfigError: at once, for a kind that is none.
    """
    if kind not in ("auto", "text", "image"):
        raise ConfigError(f"kind must be auto, text or image, found {kind!r}")

    def results() -> Iterator[StreamItem]:
        index = 0
        for chosen, run in groupby(items, lambda item: kind_of(item) if kind == "auto" else kind):
            for result in texts(run) if chosen == "text" else images(run):
                error = result if isinstance(result, InputError) else None
                yield StreamItem(index, None if isinstance(result, InputError) else result, error)
                index += 1
        at_end()

    return results()


def checked(text: object) -> str | InputError:
    """The text, or the error that takes its place."""
    try:
        return check_text(text)
    except InputError as error:
        return error


def all_texts(
    texts: str | Iterable[str], results: Results, width: int, progress: bool, cuts: Cuts | None = None
) -> Vectors:
    """What ``encode_text`` returns: (N, width), or (width,) for a lone str.

    Args:
        texts: one or many.
        results: of each text, in order.
        width: of the vectors.
        progress: show a bar.
        cuts: what ``results`` adds up; told to the caller of ``encode_text``.

    Raises:
        ItemsError: some texts failed.
    """
    return _collect("texts", texts, is_one_text(texts), results, width, progress, cuts)


def all_images(images: ImageSource | Iterable[ImageSource], results: Results, width: int, progress: bool) -> Vectors:
    """What ``encode_image`` returns: (N, width), or (width,) for a lone image.

    Raises:
        ItemsError: some images failed.
    """
    return _collect("images", images, is_one_image(images), results, width, progress)


def _collect(
    what: str, given: object, lone: bool, results: Results, width: int, progress: bool, cuts: Cuts | None = None
) -> Vectors:
    """All vectors; rows of failed items are NaN in the error that tells of them."""
    items = [given] if lone else cast("Iterable[object]", given)
    rows: list[Vectors] = []
    failures: dict[int, InputError] = {}
    with show_progress(what, length_hint(items), show=progress) as meter:
        for index, result in enumerate(results(items)):
            if isinstance(result, InputError):
                failures[index] = result
                result = np.full(width, np.nan, np.float32)
            rows.append(result)
            meter.advance()
    vectors = np.stack(rows) if rows else np.empty((0, width), np.float32)
    if cuts is not None:
        cuts.warn(stacklevel=4)
    if failures:
        reasons = {index: str(error) for index, error in failures.items()}
        raise ItemsError(reasons, vectors) from next(iter(failures.values()))
    return vectors[0] if lone else vectors
