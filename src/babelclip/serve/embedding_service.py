"""The one service behind all routes: parsed items in; vectors, counts and timings out, and the price charged.

request = EmbeddingRequest(model=..., items=..., task=...)     # a route has parsed a vendor's body
result = await service.embed(request, client)                  # fetch, price, reserve, run, charge
...                                                            # the route writes result in the vendor's shape
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

from babelclip.arrays import Vectors
from babelclip.errors import InputError
from babelclip.serve.access.authenticator import Client
from babelclip.serve.errors import FieldError, InvalidInput, ModelFailed, Refusal, TooLong
from babelclip.serve.images.fetched_images import FetchedImages
from babelclip.serve.inference.served_model import ModelDescription, ServedModel
from babelclip.serve.items import ImageItem, Item, UnreadableItem
from babelclip.serve.metrics import Metrics
from babelclip.serve.pricing import PricedImage, PricedItem, PricedText, Usage, usage_of

OnError = Literal["fail", "item"]
"""Whether one bad item fails its request, or is answered by an error of its own."""
_Stage = Literal["fetch", "prepare", "model"]
"""Images read from elsewhere; headers read and tokens counted; queues and towers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingRequest:
    """What a route has made of a body."""

    model: ServedModel
    items: Sequence[Item]
    task: str | None = None
    truncate: bool = False
    on_error: OnError = "fail"
    field: str = "input"  # of the body, as messages name it


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that cannot be embedded, and why."""

    code: str
    message: str


class Timings:
    """Seconds by stage, in the order in which they began."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # by ``_Stage``

    @contextmanager
    def measure(self, stage: _Stage) -> Iterator[None]:
        """Measure what happens inside, adding to what the stage has taken already."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


@dataclass(frozen=True, kw_only=True, slots=True)
class PricingResult:
    """What a request's items cost."""

    model: ModelDescription
    results: list[PricedItem | FailedItem]  # in order
    timings: Timings

    @property
    def usage(self) -> Usage:
        """The price of all; items that failed cost nothing."""
        return usage_of(each for each in self.results if not isinstance(each, FailedItem))


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingResult:
    """What came of a request's items."""

    model: ModelDescription
    results: list[Vectors | FailedItem]  # raw, of whole width (E,), in order
    priced: list[PricedItem] = field(repr=False)  # those that have a vector
    usage: Usage  # what was charged
    timings: Timings

    @property
    def vectors(self) -> list[Vectors]:
        """The vectors alone: as many as there were items where no item may fail."""
        return [each for each in self.results if not isinstance(each, FailedItem)]

    @property
    def texts(self) -> int:
        """How many texts have a vector."""
        return sum(isinstance(each, PricedText) for each in self.priced)

    @property
    def images(self) -> int:
        """How many images have a vector."""
        return len(self.priced) - self.texts

    @property
    def image_pixels(self) -> int:
        """Pixels of the images, as their files state them."""
        return sum(each.pixels for each in self.priced if isinstance(each, PricedImage))


class EmbeddingService:
    """Prices and embeds the items of requests. One to a server."""

    def __init__(self, images: FetchedImages, threads: Executor, metrics: Metrics) -> None:
        """Keep what is needed for any request.

        Args:
            images: brings those that are named by URL.
            threads: in which headers are read and tokens counted.
        """
        self._images, self._threads, self._metrics = images, threads, metrics

    async def price(self, request: EmbeddingRequest) -> PricingResult:
        """What the items cost, without running the model or charging anything; one that fails has its own error.

        Raises:
            InvalidInput: nobody knows the task, or the model embeds texts only.
        """
        timings = Timings()
        async with self._priced(request, timings) as priced:
            return PricingResult(model=request.model.description, results=priced, timings=timings)

    async def embed(self, request: EmbeddingRequest, client: Client) -> EmbeddingResult:
        """Vectors of the items, for which the client has been charged.

        Raises:
            Refusal: nothing was charged. Unless ``on_error`` is "item", the failure of an item is one too.
        """
        timings = Timings()
        async with self._priced(request, timings) as priced:
            if request.on_error == "fail":
                _raise_first_failure(priced, request.field)
            client.reserve(usage_of(each for each in priced if not isinstance(each, FailedItem)))
            with timings.measure("model"):
                results = await _embedded(request.model, priced, client)
        if request.on_error == "fail":
            _raise_first_failure(results, request.field)
        result = _result(request.model.description, priced, results, timings)
        await client.settle(result.usage)
        self._count(result)
        return result

    @asynccontextmanager
    async def _priced(
        self, request: EmbeddingRequest, timings: Timings
    ) -> AsyncIterator[list[PricedItem | FailedItem]]:
        """The items and their prices; images that were fetched are held until this ends."""
        model = request.model
        if model.description.image_size is None and any(isinstance(item, ImageItem) for item in request.items):
            raise InvalidInput([FieldError(request.field, f"{model.description.name} embeds texts only")])
        task = model.known_task(request.task)
        started = time.perf_counter()
        async with self._images.at_hand(request.items) as items:
            if items is not request.items:
                timings.seconds["fetch"] = time.perf_counter() - started
            with timings.measure("prepare"):
                priced = await self._price_all(request, items, task)
            yield priced

    async def _price_all(
        self, request: EmbeddingRequest, items: Sequence[Item], task: str | None
    ) -> list[PricedItem | FailedItem]:
        client_left = threading.Event()

        def price_all() -> list[PricedItem | FailedItem]:
            numbered = itertools.takewhile(lambda _: not client_left.is_set(), enumerate(items))
            return [_price(request, item, task, index) for index, item in numbered]

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, price_all)
        except asyncio.CancelledError:
            client_left.set()
            raise

    def _count(self, result: EmbeddingResult) -> None:
        counts = {"text": result.texts, "image": result.images}
        kinds = [kind for kind, count in counts.items() if count]
        self._metrics.embedded(result.model.name, counts, result.usage, result.image_pixels)
        self._metrics.staged(result.timings.seconds, kinds[0] if len(kinds) == 1 else "mixed" if kinds else "none")


def _price(request: EmbeddingRequest, item: Item, task: str | None, index: int) -> PricedItem | FailedItem:
    try:
        if isinstance(item, UnreadableItem):
            return FailedItem(item.code, item.message)
        if isinstance(item, ImageItem):
            return request.model.price_image(item.content or b"")
        field = f"{request.field}[{index}]"
        return request.model.price_text(item.text, task, truncate=request.truncate, field=field)
    except InputError as error:
        return FailedItem("INPUT_INVALID", str(error))
    except Refusal as error:
        return FailedItem(error.code, str(error))


async def _embedded(
    model: ServedModel, priced: Sequence[PricedItem | FailedItem], client: Client
) -> list[Vectors | FailedItem]:
    """Raw vectors in order; what failed before or fails now has its own error."""
    items = [each for each in priced if not isinstance(each, FailedItem)]
    found = iter(await model.vectors(items, client.begins))
    results: list[Vectors | FailedItem] = []
    for each in priced:
        result = each if isinstance(each, FailedItem) else next(found)
        if isinstance(result, InputError):
            result = FailedItem("INPUT_INVALID", str(result))
        elif isinstance(result, Exception):
            result = FailedItem(ModelFailed.code, "the model failed at this item")
        results.append(result)
    return results


def _result(
    model: ModelDescription,
    priced: Sequence[PricedItem | FailedItem],
    results: list[Vectors | FailedItem],
    timings: Timings,
) -> EmbeddingResult:
    answered = [
        item
        for item, result in zip(priced, results, strict=True)
        if not isinstance(item, FailedItem) and not isinstance(result, FailedItem)
    ]
    return EmbeddingResult(model=model, results=results, priced=answered, usage=usage_of(answered), timings=timings)


def _raise_first_failure(results: Sequence[object], field: str) -> None:
    """Turn a request away that is answered whole or not at all."""
    failures = [(index, each) for index, each in enumerate(results) if isinstance(each, FailedItem)]
    if not failures:
        return
    first = failures[0][1]
    for kind in (TooLong, ModelFailed):
        if first.code == kind.code:
            raise kind(first.message)
    raise InvalidInput([FieldError(f"{field}[{index}]", each.message) for index, each in failures])
