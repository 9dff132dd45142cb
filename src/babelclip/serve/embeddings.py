"""The way of a request for vectors: items are read, fetched, priced, embedded, and written in the form asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Literal

from babelclip.arrays import Vectors
from babelclip.errors import InputError
from babelclip.serve.bad_requests import InvalidInput, TooLarge, TooLong, Wrong
from babelclip.serve.costs import Usage
from babelclip.serve.fetch_image import ImageFetcher
from babelclip.serve.gate import Guest
from babelclip.serve.items import ImageItem, Item, TextItem
from babelclip.serve.refusals import Refusal
from babelclip.serve.served import Priced, PricedText, Served

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
    max_items: int

    def for_items(self, number: int) -> Kitchen:
        """The same, for a request whose own limits let so many items through."""
        return replace(self, max_items=max(self.max_items, number))


def check_number(items: Sequence[Item], kitchen: Kitchen, field: str = "input") -> None:
    """Raises: TooLarge for more items than a request may have."""
    if len(items) > kitchen.max_items:
        raise TooLarge(f"{field} has {len(items):,} items, the limit is {kitchen.max_items:,}; send several requests")


async def price_items(
    served: Served, items: Sequence[Item], kitchen: Kitchen, *, task: str | None, truncate: bool, field: str = "input"
) -> list[Priced | Failed]:
    """Fetch what is elsewhere and price everything; an item that fails takes its own place."""
    check_number(items, kitchen, field)
    if served.description.image_size is None and any(isinstance(item, ImageItem) for item in items):
        raise InvalidInput([Wrong(field, f"{served.description.name} embeds texts only")])
    known = served.task(task)
    contents = await asyncio.gather(*(_content(item, kitchen.fetcher) for item in items))

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

    return await asyncio.get_running_loop().run_in_executor(kitchen.threads, price_all)


async def _content(item: Item, fetcher: ImageFetcher) -> TextItem | bytes | Failed:
    if isinstance(item, TextItem):
        return item
    if item.content is not None:
        return item.content
    try:
        return await fetcher.fetch(item.url or "")
    except InputError as error:
        return Failed("INPUT_INVALID", str(error))


def usage_of(priced: Sequence[Priced | Failed]) -> Usage:
    """What a request costs; items that failed cost nothing."""
    texts = sum(each.tokens for each in priced if isinstance(each, PricedText))
    images = sum(each.tokens for each in priced if not isinstance(each, PricedText | Failed))
    return Usage(text_tokens=texts, image_tokens=images)


def first_failure(results: Sequence[object], field: str = "input") -> None:
    """Raises: the refusal of a request that is answered whole or not at all."""
    wrong = [(place, each) for place, each in enumerate(results) if isinstance(each, Failed)]
    if not wrong:
        return
    first = wrong[0][1]
    if first.code == TooLong.code:
        raise TooLong(first.message)
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
            result = Failed("INTERNAL_ERROR", "the model failed at this item")
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
) -> tuple[list[Vectors | Failed], Usage]:
    """Everything but reading and writing: raw vectors in order, and what they cost, which has been charged.

    Raises: a Refusal; then nothing was charged. Without ``on_error="item"`` no result is a ``Failed``.
    """
    priced = await price_items(served, items, kitchen, task=task, truncate=truncate, field=field)
    if on_error == "fail":
        first_failure(priced, field)
    guest.reserve(usage_of(priced))
    found = await vectors_of(served, priced)
    if on_error == "fail":
        first_failure(found, field)
    usage = usage_of([was if not isinstance(now, Failed) else now for was, now in zip(priced, found, strict=True)])
    await guest.settle(usage)
    return found, usage
