"""Many images by URL in one request, of a real site: a few at a time, counted as bodies are, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from babelclip.errors import ConfigError
from babelclip.serve.body_budget import BodyBudget
from babelclip.serve.errors import Busy, TooLarge
from babelclip.serve.images.fetch_image import FetchPolicy, ImageFetcher
from babelclip.serve.images.fetched_images import FetchedImages
from babelclip.serve.items import ImageItem, Item, TextItem, UnreadableItem
from babelclip.serve.metrics import Metrics
from babelclip.serve.settings import ServerSettings

from .image_site import PHOTO, Site, ok, online

LARGEST = 16 * 2**10


class Slow:
    """An answer that takes a moment, and how many stood open at once."""

    def __init__(self) -> None:
        self.open = self.most = 0

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.03)
        writer.write(ok(PHOTO))
        await writer.drain()
        self.open -= 1


def images(
    site: Site, budget: BodyBudget, *, max_bytes: int = 2**20, wait: float = 5.0, **policy: Any
) -> FetchedImages:
    allowed = FetchPolicy(enabled=True, allow=(f"127.0.0.1:{site.port}",), max_bytes=LARGEST, **policy)
    return FetchedImages(ImageFetcher(allowed), budget, max_bytes, wait, Metrics())


def test_so_many_at_once_and_all_in_order() -> None:
    slow, budget = Slow(), BodyBudget(2**20)

    async def scenario() -> tuple[Sequence[Item], int]:
        async with online(Site({"/slow": slow, "/a": ok(b"a"), "/b": ok(b"b")})) as site:
            urls = ["/a", "/missing", *["/slow"] * 20, "/b"]
            asked = [TextItem("first"), *(ImageItem(url=site.url(url)) for url in urls), ImageItem(b"sent")]
            async with images(site, budget, at_once=3).at_hand(asked) as items:
                return items, budget.held

    items, held = asyncio.run(scenario())
    assert slow.most == 3
    assert isinstance(items[2], UnreadableItem)
    contents = [item.content for item in items if isinstance(item, ImageItem)]
    assert contents == [b"a", *[PHOTO] * 20, b"b", b"sent"]
    assert held == 2 + 20 * len(PHOTO)
    assert budget.held == 0


def test_a_request_may_not_bring_more_than_a_body_has() -> None:
    site, budget = Site({"/": ok(PHOTO)}), BodyBudget(2**20)

    async def scenario() -> None:
        async with online(site):
            asked = [ImageItem(url=site.url()) for _ in range(200)]
            async with images(site, budget, max_bytes=5 * len(PHOTO), at_once=2).at_hand(asked):
                pass

    with pytest.raises(TooLarge, match="together"):
        asyncio.run(scenario())
    assert 6 <= site.connections <= 8  # it was noticed with the sixth
    assert budget.held == 0


def test_an_image_waits_for_room_and_then_the_request_is_refused() -> None:
    budget = BodyBudget(LARGEST + 100)

    async def scenario(taken: int, wait: float) -> None:
        async with online(Site({"/": ok(PHOTO)})) as site:
            await budget.take(taken, 1.0)
            asyncio.get_running_loop().call_later(0.2, budget.give_back, taken)
            async with images(site, budget, wait=wait).at_hand([ImageItem(url=site.url())]):
                assert budget.held == len(PHOTO)

    asyncio.run(scenario(200, 5.0))
    with pytest.raises(Busy):
        asyncio.run(scenario(200, 0.05))
    budget.give_back(200)  # the scenario had ended before it could
    assert budget.held == 0


def test_who_leaves_ends_the_fetches_and_gives_the_room_back() -> None:
    budget = BodyBudget(2**20)

    async def stays(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with online(Site({"/": stays})) as site:
            asked = [ImageItem(url=site.url()) for _ in range(30)]
            brought = images(site, budget).at_hand(asked)
            request = asyncio.ensure_future(brought.__aenter__())
            while site.connections < 8:
                await asyncio.sleep(0.01)
            assert budget.held == 8 * LARGEST
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert budget.held == 0


def test_an_image_must_find_room_at_all() -> None:
    with pytest.raises(ConfigError, match="must find room"):
        ServerSettings(max_held_bytes=2**26, fetch=FetchPolicy(enabled=True, max_bytes=2**27))
