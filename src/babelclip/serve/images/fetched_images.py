"""The images that a request names by URL, at hand for as long as it runs: a few at a time, and counted as its body is.

One URL is a few bytes and its image ten megabytes, so what a request may hold is bounded once more where its images
come in: each takes room for the largest that may come before it is asked for, and gives back what it does not need.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from babelclip.serve.body_budget import RETRY_SECONDS, BodyBudget
from babelclip.serve.errors import Busy, TooLarge
from babelclip.serve.images.fetch_image import ImageFetcher, UrlRefused
from babelclip.serve.items import ImageItem, Item, UnreadableItem
from babelclip.serve.metrics import Metrics
from babelclip.serve.settings import ServerSettings


class FetchedImages:
    """Brings the images of requests.

    Args:
        fetcher: Reads one.
        budget: Of the bytes that all requests hold.
        max_bytes: Of all images of one request together.
        wait_seconds: For which one image waits for room.
        metrics: Count what came of each.
    """

    def __init__(
        self, fetcher: ImageFetcher, budget: BodyBudget, max_bytes: int, wait_seconds: float, metrics: Metrics
    ) -> None:
        self._fetcher, self._budget, self._metrics = fetcher, budget, metrics
        self._max_bytes, self._wait_seconds = max_bytes, wait_seconds

    @asynccontextmanager
    async def at_hand(self, items: Sequence[Item]) -> AsyncIterator[Sequence[Item]]:
        """The items with their images, or with the reasons why they have none.

        Raises:
            TooLarge: The images have more bytes together than a body may have.
            Busy: There was no room for them in time.
        """
        named = [item for item in items if isinstance(item, ImageItem) and item.content is None]
        if not named:
            yield items
            return
        held = _Held()
        try:
            came = iter(await self._fetch_all([item.url or "" for item in named], held))
            waited_for = set(map(id, named))
            yield [next(came) if id(item) in waited_for else item for item in items]
        finally:
            self._budget.give_back(held.size)

    async def _fetch_all(self, urls: Sequence[str], held: _Held) -> Sequence[Item]:
        turns = asyncio.Semaphore(self._fetcher.policy.at_once)
        fetches = [asyncio.ensure_future(self._fetch(url, turns, held)) for url in urls]
        try:
            return await asyncio.gather(*fetches)
        finally:  # one that ends the request ends the others
            for fetch in fetches:
                fetch.cancel()
            await asyncio.gather(*fetches, return_exceptions=True)

    async def _fetch(self, url: str, turns: asyncio.Semaphore, held: _Held) -> Item:
        largest = self._fetcher.policy.max_bytes if self._fetcher.policy.enabled else 0
        async with turns:
            try:
                await self._budget.take(largest, self._wait_seconds)
            except TimeoutError:
                raise Busy("the server holds as much as it can; send it again later", RETRY_SECONDS) from None
            content = b""
            try:
                content = await self._fetcher.fetch(url)
            except UrlRefused as error:
                self._metrics.fetched(error.reason)
                return UnreadableItem("INPUT_INVALID", str(error))
            finally:
                held.size += len(content)
                self._budget.give_back(largest - len(content))
            if held.size > self._max_bytes:
                raise TooLarge(
                    f"the images that this request names have more than {self._max_bytes:,} bytes together; send fewer"
                )
            self._metrics.fetched("ok")
            return ImageItem(content)


@dataclass(slots=True)
class _Held:
    """Bytes of images that one request holds."""

    size: int = 0


def fetched_images(settings: ServerSettings, budget: BodyBudget, metrics: Metrics) -> FetchedImages:
    """As a server's settings have it: a request's images may have as many bytes together as a body."""
    fetcher = ImageFetcher(settings.fetch)
    return FetchedImages(fetcher, budget, settings.max_body_bytes, settings.wait_seconds, metrics)
