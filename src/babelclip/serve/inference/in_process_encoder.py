"""A served model as an encoder: what is mounted beside the API uses the model that the worker process holds already.

It waits in the same queues as requests of the API, and its vectors may come out of the same cache.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from typing import Any, cast

import numpy as np

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, ImageError, InputError, RuntimeUnavailable, TextError, UnknownTask
from babelclip.item_encoder import Call, ItemEncoder, checked
from babelclip.prepare.cuts import Cuts
from babelclip.prepare.damages import Damages
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import ImageSource
from babelclip.score_calibration import ScoreCalibration
from babelclip.serve.errors import Busy
from babelclip.serve.inference.served_model import ServedModel
from babelclip.serve.pricing import PricedItem
from babelclip.vectors import finish

ITEMS_AT_ONCE = 64
MAX_SECONDS = 120.0  # seconds for so many; a request of the API may take as long

Finish = Callable[[Vectors], Vectors]


class InProcessEncoder(ItemEncoder):
    """Texts and images to vectors, for threads other than that of the server's event loop, which must not wait.

    As with ``RemoteEncoder`` an image is brought here to the square that the model sees, so that how photos are turned
    is chosen here. The square goes on as it is, without being encoded and decoded once more. Only the model's own limit
    can cut texts, and cuts are not told. While the model is being started anew, calls raise ``RuntimeUnavailable``.
    """

    def __init__(
        self, model: ServedModel, loop: asyncio.AbstractEventLoop, calibration: ScoreCalibration | None = None
    ) -> None:
        """Stand in front of a model's queues.

        Args:
            loop: the one that the server runs in.
            calibration: what the model's scores mean.
        """
        about = model.description
        self.name, self.dim, self.dims = about.name, about.dim, about.dims
        self.logit_scale, self.max_tokens = about.logit_scale, about.max_tokens
        self.calibration = calibration
        self._model, self._loop = model, loop
        self._preparer = None if about.image_prepare is None else ImagePreparer(about.image_prepare)

    @property
    def image_size(self) -> int | None:
        """Side in pixels of the square that the model sees; None where it embeds texts only."""
        return self._model.description.image_size

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

    def close(self) -> None:
        """The server closes the model."""

    def _call(self, task: str | None, dim: int | None, normalize: bool, max_tokens: int | None) -> Call:
        about = self._model.description
        if max_tokens is not None:
            raise ConfigError("max_tokens cannot be told to a served model: it cuts texts at its own limit")
        if task is not None and task not in about.tasks:
            raise UnknownTask(f"unknown task {task!r}; {self.name} knows {', '.join(about.tasks) or 'none'}")
        width = finish(np.empty((0, self.dim), np.float32), dim).shape[1]

        def end(row: Vectors) -> Vectors:
            vector: Vectors = finish(row[None], width, normalize)[0]
            return vector

        cuts, damages = Cuts(), Damages()
        return Call(
            width,
            lambda texts: self._texts(texts, task, end),
            lambda images: self._images(images, end, damages),
            cuts,
            damages,
        )

    def _texts(self, texts: Iterable[object], task: str | None, end: Finish) -> Iterator[Vectors | InputError]:
        def priced(text: object) -> PricedItem | InputError:
            good = checked(text)
            return self._model.price_text(good, task, truncate=True, field="") if isinstance(good, str) else good

        return self._results(texts, priced, end, TextError)

    def _images(self, images: Iterable[object], end: Finish, damages: Damages) -> Iterator[Vectors | InputError]:
        preparer = self._preparer
        assert preparer is not None, "the caller has looked"
        waiting: deque[str | None] = deque()

        def priced(image: object) -> PricedItem | InputError:
            try:
                crop = preparer.crop_picture(cast("ImageSource", image))
            except ImageError as error:
                waiting.append(None)
                return error
            waiting.append(crop.damage)
            return self._model.price_pixels(crop.square)

        for result in self._results(images, priced, end, ImageError):
            damages.note(waiting.popleft(), "an image")
            yield result

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
