"""A model as the server sees it: what it is, what an item costs, and vectors by way of a queue before each tower."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.encoder import Encoder
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.open_image import ImageLimits, stated_size
from babelclip.prepare.text import TextPreparer
from babelclip.serve.errors import Busy, FieldError, InvalidInput, TooLong
from babelclip.serve.inference.backend import Backend, LocalBackend
from babelclip.serve.inference.batcher import BackendLost, Batcher, BatchLimits, Overloaded, ShuttingDown
from babelclip.serve.inference.vector_cache import CachedVectors, VectorCache
from babelclip.serve.metrics import Metrics
from babelclip.serve.pricing import PricedImage, PricedItem, PricedText, image_tokens
from babelclip.version import __version__

JINA_TASKS = ("retrieval.query", "retrieval.passage", "text-matching", "classification", "separation")
VENDOR_TASKS = (*JINA_TASKS, "retrieval", "clustering")
"""Of Jina's hosted API the first five, of its self-hosted server the others too.

Taken for every model: clients send them unasked. A model that does not know one embeds as without a task.
"""
COUNTED_CONTEXTS = 4
"""So many times what the model reads is counted of a text that is too long, then no more."""
MAX_CHARACTERS = 1_000_000
"""Of one text. Blanks and marks that vanish make no tokens, so a bound of tokens alone would let any length be read."""
RETRY_WHEN_LOST = 2  # seconds; about what a small model takes to start

TEXT_LIMITS = BatchLimits(batch_cost=4096, batch_items=256, waiting_cost=2_000_000)
IMAGE_LIMITS = BatchLimits(batch_cost=64_000_000, batch_items=16, waiting_cost=4_000_000_000, in_flight=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What a client may know of a model."""

    name: str
    dims: tuple[int, ...]  # trained for, ascending; the last is the width of its vectors
    max_tokens: int
    image_prepare: ImagePrepareConfig | None  # None: it embeds texts only
    tasks: tuple[str, ...]  # that change its vectors
    facts: dict[str, str | int | None]
    logit_scale: float | None = None  # of cosines of a text and an image, before a softmax

    @property
    def dim(self) -> int:
        """The width of its vectors."""
        return self.dims[-1]

    @property
    def image_size(self) -> int | None:
        """Side in pixels of the square that it sees; None where it embeds texts only."""
        return None if self.image_prepare is None else self.image_prepare.size


class ServedModel:
    """One model. All but pricing runs in one event loop."""

    def __init__(
        self,
        description: ModelDescription,
        text_preparer: TextPreparer,
        backend: Backend,
        *,
        image_limits: ImageLimits,
        text_queue: BatchLimits = TEXT_LIMITS,
        image_queue: BatchLimits = IMAGE_LIMITS,
    ) -> None:
        self.description, self.backend = description, backend
        self._text_preparer, self._image_limits = text_preparer, image_limits
        self._texts = Batcher[PricedText, Vectors](self._run_texts, text_queue)
        self._images = Batcher[PricedImage, Vectors](self._run_images, image_queue)
        self._cached: CachedVectors | None = None

    def use_cache(self, cache: VectorCache, threads: Executor, metrics: Metrics) -> None:
        """Look in a cache first, and put there what was computed."""
        about = self.description
        facts = (about.facts.get(name) for name in ("fingerprint", "runtime", "runtime_version", "device", "dtype"))
        depends = (__version__, *facts, about.image_prepare)  # the orientation may be another than the model's own
        self._cached = CachedVectors(cache, threads, repr(depends), partial(metrics.looked_up, about.name))

    def watch(self, metrics: Metrics) -> None:
        """Let metrics follow the queues and the backend."""
        name = self.description.name
        waiting = {"text": lambda: self._texts.waiting_cost, "image": lambda: self._images.waiting_cost}
        metrics.watch_model(name, waiting, lambda: self.backend.is_ready)
        self._texts.watcher = metrics.batches(name, "text", self._texts.limits.batch_cost)
        self._images.watcher = metrics.batches(name, "image", self._images.limits.batch_cost)

    def start(self) -> None:
        """Begin to take items out of the queues, in the running event loop."""
        self._texts.start()
        self._images.start()

    async def close(self, seconds: float) -> bool:
        """Finish what was accepted; False when that took too long."""
        return all(await asyncio.gather(self._texts.close(seconds), self._images.close(seconds)))

    @property
    def waiting_cost(self) -> tuple[int, int]:
        """Tokens of waiting texts, pixels of waiting images."""
        return self._texts.waiting_cost, self._images.waiting_cost

    def known_task(self, asked: str | None) -> str | None:
        """The task as the model knows it; None also for one that clients send unasked and that it does not know.

        Raises:
            InvalidInput: nobody knows such a task.
        """
        if not asked:  # Weaviate sends an empty one for documents
            return None
        if asked in self.description.tasks:
            return asked
        if asked in VENDOR_TASKS:
            return None
        known = ", ".join(dict.fromkeys((*self.description.tasks, *VENDOR_TASKS)))
        raise InvalidInput([FieldError("task", f"unknown task {asked[:80]!r}; known are {known}")])

    def ignores_task(self, asked: str | None) -> bool:
        """Whether a task that was asked for changes nothing."""
        return bool(asked) and asked not in self.description.tasks

    def price_text(self, text: str, task: str | None, *, truncate: bool, field: str) -> PricedText:
        """A text with its price.

        Raises:
            TooLong: it is over the model's context, and ``truncate`` is not asked for; the message names the field.
        """
        max_tokens = self.description.max_tokens
        counted = max_tokens if truncate else COUNTED_CONTEXTS * max_tokens
        found = self._text_preparer.measure(text[:MAX_CHARACTERS], task, count_up_to=counted)
        if not truncate and found.tokens <= max_tokens and len(text) > MAX_CHARACTERS:
            raise TooLong(f"{field} has more than {MAX_CHARACTERS:,} characters; shorten it or send truncate: true")
        if not truncate and found.tokens > max_tokens:
            more = "" if found.is_whole and len(text) <= MAX_CHARACTERS else "more than "
            raise TooLong(
                f"{field} has {more}{found.tokens:,} tokens, the model reads {max_tokens:,}; shorten it or send "
                "truncate: true"
            )
        return PricedText(found.text, min(found.tokens, max_tokens), task)

    def price_image(self, content: bytes) -> PricedImage:
        """An image file with its price; only its header is read.

        Raises:
            ImageError: it is no image that is taken.
        """
        width, height = stated_size(content, self._image_limits)
        return PricedImage(content, image_tokens(width, height), width * height)

    def price_pixels(self, pixels: NDArray[np.uint8]) -> PricedImage:
        """(H, W, 3) of a caller in this process, who has decoded the image already."""
        height, width, _ = pixels.shape
        return PricedImage(pixels, image_tokens(width, height), width * height)

    async def vectors(
        self, items: Sequence[PricedItem], begins: Callable[[PricedItem], None] = lambda item: None
    ) -> list[Vectors | Exception]:
        """Raw vectors of whole width (E,) in order, or the error of an item.

        Args:
            begins: is told each item that the model begins with; not those whose vector is known.

        Raises:
            Busy: too much is waiting or the model is not there; nothing is to be charged then.
        """
        compute = partial(self._compute, begins=begins)
        if self._cached is None:
            return await compute(items)
        return await self._cached.vectors(items, compute)

    async def _compute(
        self, items: Sequence[PricedItem], begins: Callable[[PricedItem], None]
    ) -> list[Vectors | Exception]:
        texts = [item for item in items if isinstance(item, PricedText)]
        images = [item for item in items if isinstance(item, PricedImage)]
        side = self.description.image_size or 0
        submitted = (
            asyncio.ensure_future(self._texts.submit(texts, [item.tokens for item in texts], begins)),
            asyncio.ensure_future(self._images.submit(images, [item.pixels + side**2 for item in images], begins)),
        )
        try:
            of_texts, of_images = await asyncio.gather(*submitted)
        except Overloaded as error:
            raise Busy(str(error), error.retry_after) from error
        except ShuttingDown as error:
            raise Busy(str(error), RETRY_WHEN_LOST) from error
        finally:
            for each in submitted:
                each.cancel()  # the other half of a request that was refused
        next_text, next_image = iter(of_texts), iter(of_images)
        results = [next(next_text if isinstance(item, PricedText) else next_image) for item in items]
        for result in results:
            if isinstance(result, BackendLost | ShuttingDown):  # whatever else was computed: no answer without it
                raise Busy(str(result), RETRY_WHEN_LOST) from result
        return results

    async def _run_texts(self, batch: Sequence[PricedText]) -> list[Vectors | Exception]:
        """Texts of a batch, task by task."""
        found: dict[int, Vectors | Exception] = {}
        for task in dict.fromkeys(item.task for item in batch):
            indices = [index for index, item in enumerate(batch) if item.task == task]
            results = await self.backend.run("text", [batch[index].text for index in indices], task)
            found.update(zip(indices, results, strict=True))
        return [found[index] for index in range(len(batch))]

    async def _run_images(self, batch: Sequence[PricedImage]) -> list[Vectors | Exception]:
        return await self.backend.run("image", [item.content for item in batch])


def serve_encoder(encoder: Encoder, image_limits: ImageLimits) -> ServedModel:
    """An encoder of this process, to be served. A client cannot be told of a damaged image, so one is an error."""
    served = copy(encoder)
    served.image_preparer = None if encoder.image_preparer is None else encoder.image_preparer.whole_only()
    description = ModelDescription(
        name=encoder.name,
        dims=encoder.dims,
        max_tokens=encoder.max_tokens,
        image_prepare=None if encoder.image_preparer is None else encoder.image_preparer.config,
        tasks=encoder.text_preparer.tasks,
        facts=encoder.facts(),
        logit_scale=encoder.logit_scale,
    )
    return ServedModel(description, encoder.text_preparer, LocalBackend(served), image_limits=image_limits)
