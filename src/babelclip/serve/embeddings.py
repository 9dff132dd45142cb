"""The way of a request for vectors: items are read, fetched, priced, embedded, and written in the form asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

from babelclip.arrays import Vectors
from babelclip.errors import InputError
from babelclip.serve.bad_requests import InvalidInput, ModelFailed, TooLong, Wrong
from babelclip.serve.costs import Usage
from babelclip.serve.fetch_image import ImageFetcher, UrlRefused
from babelclip.serve.gate import Guest
from babelclip.serve.items import ImageItem, Item, TextItem, Unreadable
from babelclip.serve.metrics import Metrics
from babelclip.serve.priced import Priced, PricedImage, PricedText
from babelclip.serve.refusals import Refusal
from babelclip.serve.served import Served
from babelclip.serve.stopwatch import Stopwatch

OnError = Literal["fail", "item"]
"""Whether one bad item fails its request, or takes its own place in the answer."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An item that cannot be embedded, and why."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Kitchen:
    """Where a request is prepared: threads for headers and tokens, and the way to images elsewhere."""

    fetcher: ImageFetcher
    threads: Executor
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of a request's items."""

    results: list[Vectors | Failed]  # raw, of whole width (E,), in order
    priced: list[Priced]  # those that have a vector
    watch: Stopwatch

    @property
    def vectors(self) -> list[Vectors]:
        """The vectors alone: as many as there were items where no item may fail."""
        return [each for each in self.results if not isinstance(each, Failed)]

    @property
    def usage(self) -> Usage:
        """What was charged."""
        return usage_of(self.priced)

    @property
    def image_pixels(self) -> int:
        """Pixels of the images, as their files state them."""
        return sum(each.pixels for each in self.priced if isinstance(each, PricedImage))

    @property
    def numbers(self) -> dict[str, int]:
        """How many of a kind have a vector."""
        texts = sum(isinstance(each, PricedText) for each in self.priced)
        return {"text": texts, "image": len(self.priced) - texts}


async def price_items(
    served: Served,
    items: Sequence[Item],
    kitchen: Kitchen,
    watch: Stopwatch,
    *,
    task: str | None,
    truncate: bool,
    field: str = "input",
) -> list[Priced | Failed]:
    """Fetch what is elsewhere and price everything; an item that fails takes its own place."""
    if served.description.image_size is None and any(isinstance(item, ImageItem) for item in items):
        raise InvalidInput([Wrong(field, f"{served.description.name} embeds texts only")])
    known = served.task(task)
    contents: Sequence[TextItem | bytes | Failed]
    if any(isinstance(item, ImageItem) and item.content is None for item in items):
        with watch.stage("fetch"):
            contents = await asyncio.gather(*(_fetched(item, kitchen) for item in items))
    else:
        contents = [_at_hand(item) for item in items]

    def price(place: int) -> Priced | Failed:
        content = contents[place]
        try:
            if isinstance(content, Failed):
                return content
            if isinstance(content, bytes):
                return served.price_image(content)
            return served.price_text(content.text, known, truncate=truncate, place=f"{field}[{place}]")
        except InputError as error:
            return Failed("INPUT_INVALID", str(error))
        except Refusal as error:
            return Failed(error.code, str(error))

    def price_all() -> list[Priced | Failed]:
        return [price(place) for place in range(len(items))]

    with watch.stage("prepare"):
        return await asyncio.get_running_loop().run_in_executor(kitchen.threads, price_all)


def _at_hand(item: Item) -> TextItem | bytes | Failed:
    if isinstance(item, Unreadable):
        return Failed(InvalidInput.code, item.why)
    return item if isinstance(item, TextItem) else item.content or b""


async def _fetched(item: Item, kitchen: Kitchen) -> TextItem | bytes | Failed:
    if not isinstance(item, ImageItem) or item.content is not None:
        return _at_hand(item)
    try:
        content = await kitchen.fetcher.fetch(item.url or "")
    except UrlRefused as error:
        kitchen.metrics.fetched(error.reason)
        return Failed("INPUT_INVALID", str(error))
    kitchen.metrics.fetched("ok")
    return content


def usage_of(priced: Sequence[Priced | Failed]) -> Usage:
    """What a request costs; items that failed cost nothing."""
    texts = sum(each.tokens for each in priced if isinstance(each, PricedText))
    images = sum(each.tokens for each in priced if isinstance(each, PricedImage))
    return Usage(text_tokens=texts, image_tokens=images)


def first_failure(results: Sequence[object], field: str = "input") -> None:
    """Raises: the refusal of a request that is answered whole or not at all."""
    wrong = [(place, each) for place, each in enumerate(results) if isinstance(each, Failed)]
    if not wrong:
        return
    first = wrong[0][1]
    for kind in (TooLong, ModelFailed):
        if first.code == kind.code:
            raise kind(first.message)
    raise InvalidInput([Wrong(f"{field}[{place}]", each.message) for place, each in wrong])


async def vectors_of(served: Served, priced: Sequence[Priced | Failed]) -> list[Vectors | Failed]:
    """Raw vectors in order; what failed before or fails now takes its own place. Raises: Busy."""
    good = [each for each in priced if not isinstance(each, Failed)]
    found = iter(await served.vectors(good))
    results: list[Vectors | Failed] = []
    for each in priced:
        result = each if isinstance(each, Failed) else next(found)
        if isinstance(result, InputError):
            result = Failed("INPUT_INVALID", str(result))
        elif isinstance(result, Exception):
            result = Failed(ModelFailed.code, "the model failed at this item")
        results.append(result)
    return results


async def embed(
    served: Served,
    items: Sequence[Item],
    kitchen: Kitchen,
    guest: Guest,
    *,
    task: str | None = None,
    truncate: bool = False,
    on_error: OnError = "fail",
    field: str = "input",
) -> Embedded:
    """Everything but reading and writing: raw vectors in order, and what they cost, which has been charged.

    Raises: a Refusal; then nothing was charged. Without ``on_error="item"`` no result is a ``Failed``.
    """
    watch = Stopwatch()
    priced = await price_items(served, items, kitchen, watch, task=task, truncate=truncate, field=field)
    if on_error == "fail":
        first_failure(priced, field)
    guest.reserve(usage_of(priced))
    with watch.stage("model"):
        found = await vectors_of(served, priced)
    if on_error == "fail":
        first_failure(found, field)
    answered = [
        was
        for was, now in zip(priced, found, strict=True)
        if not isinstance(was, Failed) and not isinstance(now, Failed)
    ]
    embedded = Embedded(found, answered, watch)
    await guest.settle(embedded.usage)
    kitchen.metrics.embedded(served.description.name, embedded.numbers, embedded.usage, embedded.image_pixels)
    return embedded
