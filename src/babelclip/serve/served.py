"""A model as the server sees it: what it is, what an item costs, and vectors by way of a queue before each tower."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from babelclip.arrays import Vectors
from babelclip.encoder import Encoder
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.open_image import ImageLimits, stated_size
from babelclip.prepare.text import TextPreparer
from babelclip.serve.bad_requests import Busy, InvalidInput, TooLong, Wrong
from babelclip.serve.batcher import Batcher, BatchLimits, Closing, Overloaded, TowerLost
from babelclip.serve.cache import VectorCache
from babelclip.serve.costs import image_tokens
from babelclip.serve.kept import KeptVectors
from babelclip.serve.metrics import Metrics
from babelclip.serve.priced import Priced, PricedImage, PricedText
from babelclip.serve.tower import Tower, TowerHere
from babelclip.version import __version__

JINA_TASKS = ("retrieval.query", "retrieval.passage", "text-matching", "classification", "separation")
"""Taken for every model: clients send them unasked. A model that does not know one embeds as without a task."""
RETRY_WHEN_LOST = 2  # seconds; about what a small model takes to start

TEXT_LIMITS = BatchLimits(batch_cost=4096, batch_items=256, waiting_cost=2_000_000)
IMAGE_LIMITS = BatchLimits(batch_cost=64_000_000, batch_items=16, waiting_cost=4_000_000_000, in_flight=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
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


class Served:
    """One model. All but pricing runs in one event loop."""

    def __init__(
        self,
        description: Description,
        text_preparer: TextPreparer,
        tower: Tower,
        *,
        image_limits: ImageLimits,
        text_queue: BatchLimits = TEXT_LIMITS,
        image_queue: BatchLimits = IMAGE_LIMITS,
    ) -> None:
        self.description, self.tower = description, tower
        self._text_preparer, self._image_limits = text_preparer, image_limits
        self._texts = Batcher[PricedText, Vectors](self._run_texts, text_queue)
        self._images = Batcher[PricedImage, Vectors](self._run_images, image_queue)
        self._cache: KeptVectors | None = None

    def keep_vectors(self, cache: VectorCache, threads: Executor, metrics: Metrics) -> None:
        """Look in a cache first, and put there what was computed."""
        about = self.description
        facts = (about.facts.get(name) for name in ("fingerprint", "runtime", "runtime_version", "device", "dtype"))
        depends = (__version__, *facts, self._text_preparer.digest(), about.image_prepare)
        self._cache = KeptVectors(cache, threads, repr(depends), partial(metrics.looked_up, about.name))

    def watch(self, metrics: Metrics) -> None:
        """Let metrics follow the queues and the tower."""
        name = self.description.name
        waiting = {"text": lambda: self._texts.waiting_cost, "image": lambda: self._images.waiting_cost}
        metrics.watch_model(name, waiting, lambda: self.tower.is_ready)
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

    def task(self, asked: str | None) -> str | None:
        """The task as the model knows it. Raises: InvalidInput for a task that nobody knows."""
        if not asked:  # Weaviate sends an empty one for documents
            return None
        if asked in self.description.tasks:
            return asked
        if asked in JINA_TASKS:
            return None
        known = ", ".join(dict.fromkeys((*self.description.tasks, *JINA_TASKS)))
        raise InvalidInput([Wrong("task", f"unknown task {asked[:80]!r}; known are {known}")])

    def price_text(self, text: str, task: str | None, *, truncate: bool, place: str) -> PricedText:
        """Raises: TooLong for a text over the model's context where ``truncate`` is not asked for."""
        tokens, most = self._text_preparer.tokenize([text], task).longest, self.description.max_tokens
        if tokens > most and not truncate:
            raise TooLong(f"{place} has {tokens:,} tokens, the model reads {most:,}; shorten it or send truncate: true")
        return PricedText(text, min(tokens, most), task)

    def price_image(self, content: bytes) -> PricedImage:
        """Raises: ImageError for what is no image that is taken; only its header is read."""
        width, height = stated_size(content, self._image_limits)
        return PricedImage(content, image_tokens(width, height), width * height)

    def price_pixels(self, pixels: NDArray[np.uint8]) -> PricedImage:
        """(H, W, 3) of a caller in this process, who has decoded the image already."""
        height, width, _ = pixels.shape
        return PricedImage(pixels, image_tokens(width, height), width * height)

    async def vectors(self, items: Sequence[Priced]) -> list[Vectors | Exception]:
        """Raw vectors of whole width (E,) in order, or the error of an item.

        Raises: Busy when too much is waiting or the model is not there; nothing is to be charged then.
        """
        return await (self._computed(items) if self._cache is None else self._cache.vectors(items, self._computed))

    async def _computed(self, items: Sequence[Priced]) -> list[Vectors | Exception]:
        texts = [item for item in items if isinstance(item, PricedText)]
        images = [item for item in items if isinstance(item, PricedImage)]
        side = self.description.image_size or 0
        asked = (
            asyncio.ensure_future(self._texts.submit(texts, [item.tokens for item in texts])),
            asyncio.ensure_future(self._images.submit(images, [item.pixels + side**2 for item in images])),
        )
        try:
            of_texts, of_images = await asyncio.gather(*asked)
        except Overloaded as error:
            raise Busy(str(error), error.retry_after) from error
        except Closing as error:
            raise Busy(str(error), RETRY_WHEN_LOST) from error
        finally:
            for each in asked:
                each.cancel()  # the other half of a request that was refused
        answers = {True: iter(of_texts), False: iter(of_images)}
        found = [next(answers[isinstance(item, PricedText)]) for item in items]
        for result in found:
            if isinstance(result, TowerLost | Closing):  # whatever else was computed, the request cannot be answered
                raise Busy(str(result), RETRY_WHEN_LOST) from result
        return found

    async def _run_texts(self, batch: Sequence[PricedText]) -> list[Vectors | Exception]:
        """Texts of a batch, task by task."""
        found: dict[int, Vectors | Exception] = {}
        for task in dict.fromkeys(item.task for item in batch):
            places = [place for place, item in enumerate(batch) if item.task == task]
            answers = await self.tower.run("text", [batch[place].text for place in places], task)
            found.update(zip(places, answers, strict=True))
        return [found[place] for place in range(len(batch))]

    async def _run_images(self, batch: Sequence[PricedImage]) -> list[Vectors | Exception]:
        return await self.tower.run("image", [item.content for item in batch])


def serve_encoder(encoder: Encoder, image_limits: ImageLimits) -> Served:
    """An encoder of this process, to be served."""
    description = Description(
        name=encoder.name,
        dims=encoder.dims,
        max_tokens=encoder.max_tokens,
        image_prepare=None if encoder.image_preparer is None else encoder.image_preparer.config,
        tasks=encoder.text_preparer.tasks,
        facts=encoder.facts(),
        logit_scale=encoder.logit_scale,
    )
    return Served(description, encoder.text_preparer, TowerHere(encoder), image_limits=image_limits)
