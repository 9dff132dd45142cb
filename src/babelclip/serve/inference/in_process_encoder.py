"""A served model as an encoder: what is mounted beside the API uses the model that the worker process holds already.

It waits in the same queues as requests of the API, and its vectors may come out of the same cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from typing import Any, Literal, cast

import numpy as np

from babelclip.arrays import Vectors
from babelclip.encodes import TEXTS_ONLY, StreamItem, all_images, all_texts, checked, stream_by_kind
from babelclip.errors import ConfigError, ImageError, InputError, RuntimeUnavailable, TextError, UnknownTask
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import ImageSource
from babelclip.reading import Reading
from babelclip.serve.errors import Busy
from babelclip.serve.inference.served_model import ServedModel
from babelclip.serve.pricing import PricedItem
from babelclip.vectors import finish

ITEMS_AT_ONCE = 64
MAX_SECONDS = 120.0  # seconds for so many; a request of the API may take as long

Finish = Callable[[Vectors], Vectors]


class InProcessEncoder:
    """Texts and images to vectors, for threads other than that of the server's event loop, which must not wait.

    As with ``RemoteEncoder`` an image is brought here to the square that the model sees, so that how photos are turned
    is chosen here. The square goes on as it is, without being encoded and decoded once more.
    """

    def __init__(self, model: ServedModel, loop: asyncio.AbstractEventLoop, reading: Reading | None = None) -> None:
        """
        Args:
            loop: the one that the server runs in.
            reading: what the model's scores mean.
        """
        about = model.description
        self.name, self.dim = about.name, about.dim
        self.reading = reading
        self._model, self._loop = model, loop
        self._preparer = None if about.image_prepare is None else ImagePreparer(about.image_prepare)

    def upright(self) -> InProcessEncoder:
        """As ``Encoder.upright``."""
        if self._preparer is None:
            return self
        turned = copy(self)
        turned._preparer = self._preparer.upright()
        return turned

    def facts(self) -> dict[str, str | int | None]:
        """As ``Encoder.facts``: the worker has told them."""
        return {"model": self.name, **self._model.description.facts, "dim": self.dim}

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Of texts as the model reads them."""
        return sum(self._model.price_text(text, None, truncate=True, field="").tokens for text in texts)

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
        """As ``Encoder.encode_text``, but that only the model's own limit can cut texts, and cuts are not told.

        Raises:
            ItemsError: some texts failed; it carries the vectors of all others.
            ConfigError, UnknownTask: an option that the model does not have.
            RuntimeUnavailable: the model is being started anew.
        """
        if max_tokens is not None:
            raise ConfigError("max_tokens cannot be told to a served model: it cuts texts at its own limit")
        end = _finish(dim, normalize)
        return all_texts(texts, lambda items: self._texts(items, task, end), dim or self.dim, progress)

    def encode_image(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        dim: int | None = None,
        normalize: bool = True,
        progress: bool = False,
    ) -> Vectors:
        """As ``Encoder.encode_image``.

        Raises:
            ItemsError: some images failed; it carries the vectors of all others.
            ConfigError: the model embeds texts only, or has no such width.
            RuntimeUnavailable: the model is being started anew.
        """
        if self._preparer is None:
            raise ConfigError(f"{self.name} {TEXTS_ONLY}")
        end = _finish(dim, normalize)
        return all_images(images, lambda items: self._images(items, end), dim or self.dim, progress)

    def stream(
        self,
        items: Iterable[str | ImageSource],
        *,
        kind: Literal["auto", "text", "image"] = "auto",
        dim: int | None = None,
    ) -> Iterator[StreamItem]:
        """As ``Encoder.stream``."""
        end = _finish(dim, True)
        return stream_by_kind(
            items, kind, lambda texts: self._texts(texts, None, end), lambda images: self._images(images, end)
        )

    def _texts(self, texts: Iterable[object], task: str | None, end: Finish) -> Iterator[Vectors | InputError]:
        known = self._model.description.tasks
        if task is not None and task not in known:
            raise UnknownTask(f"unknown task {task!r}; {self.name} knows {', '.join(known) or 'none'}")

        def priced(text: object) -> PricedItem | InputError:
            good = checked(text)
            return self._model.price_text(good, task, truncate=True, field="") if isinstance(good, str) else good

        return self._results(texts, priced, end, TextError)

    def _images(self, images: Iterable[object], end: Finish) -> Iterator[Vectors | InputError]:
        preparer = self._preparer

        def priced(image: object) -> PricedItem | InputError:
            if preparer is None:
                return ImageError(f"{self.name} {TEXTS_ONLY}")
            try:
                return self._model.price_pixels(preparer.crop(cast("ImageSource", image)))
            except ImageError as error:
                return error

        return self._results(images, priced, end, ImageError)

    def _results(
        self,
        items: Iterable[object],
        priced: Callable[[object], PricedItem | InputError],
        end: Finish,
        kind: type[InputError],
    ) -> Iterator[Vectors | InputError]:
        """One result an item, in order."""
        source = iter(items)
        while part := list(islice(source, ITEMS_AT_ONCE)):
            taken = [priced(item) for item in part]
            found = iter(self._wait([item for item in taken if not isinstance(item, InputError)]))
            for item in taken:
                result: Any = item if isinstance(item, InputError) else next(found)
                if isinstance(result, Exception) and not isinstance(result, InputError):
                    raise RuntimeUnavailable(f"{self.name} failed; the server's log knows more") from result
                if not isinstance(result, Exception):
                    result = end(result) if np.isfinite(result).all() else kind("the model gave no vector for it")
                yield result

    def _wait(self, items: Sequence[PricedItem]) -> Sequence[Vectors | Exception]:
        if not items:
            return []
        waiting = asyncio.run_coroutine_threadsafe(self._model.vectors(items), self._loop)
        try:
            return waiting.result(MAX_SECONDS)
        except (Busy, TimeoutError) as error:
            waiting.cancel()
            raise RuntimeUnavailable(str(error) or "the model takes too long; try again later") from error


def _finish(dim: int | None, normalize: bool) -> Finish:
    """What cuts and normalizes a raw vector (E,)."""
    return lambda row: finish(row[None], dim, normalize)[0]
