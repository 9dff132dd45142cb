"""The bundled model behind its two queues: prices, mixed requests, tasks, failures."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.arrays import Vectors
from babelclip.encoder import Encoder
from babelclip.errors import ImageError
from babelclip.prepare.open_image import ImageLimits
from babelclip.serve.errors import Busy, InvalidInput, TooLong
from babelclip.serve.inference.backend import LocalBackend
from babelclip.serve.inference.batcher import BackendLost, BatchLimits
from babelclip.serve.inference.ipc import MessageKind
from babelclip.serve.inference.served_model import ServedModel, serve_encoder
from babelclip.serve.inference.vector_cache import VectorCache
from babelclip.serve.metrics import Metrics
from babelclip.serve.pricing import ItemContent

LIMITS = ImageLimits(max_pixels=2_000_000)


def picture(width: int, height: int, color: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), color).save(content, "JPEG")
    return content.getvalue()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return babelclip.load()


def test_prices(encoder: Encoder) -> None:
    served = serve_encoder(encoder, LIMITS)
    assert served.price_image(picture(513, 512)).tokens == 8000
    text = served.price_text("a dog on the beach", None, truncate=False, field="input")
    assert text.tokens == len(encoder.tokenize("a dog on the beach")[0])
    with pytest.raises(TooLong, match="512"):
        served.price_text("word " * 600, None, truncate=False, field="input")
    assert served.price_text("word " * 600, None, truncate=True, field="input").tokens == 512
    with pytest.raises(ImageError, match="limit is 2,000,000"):
        served.price_image(picture(2000, 1001))
    with pytest.raises(ImageError, match="none of the accepted formats"):
        served.price_image(b"words")


def test_tasks(encoder: Encoder) -> None:
    served = serve_encoder(encoder, LIMITS)
    assert served.known_task(None) is None
    assert served.known_task("retrieval.passage") is None  # this model knows none, and clients send it unasked
    with pytest.raises(InvalidInput, match="task: unknown task 'poetry'"):
        served.known_task("poetry")


def test_a_mixed_request_comes_back_in_order_and_a_bad_item_fails_alone(encoder: Encoder) -> None:
    async def scene() -> list[Vectors | Exception]:
        served = serve_encoder(encoder, LIMITS)
        served.start()
        noise = io.BytesIO()
        Image.effect_noise((90, 90), 80).save(noise, "PNG")
        broken = noise.getvalue()[:3000]  # its header is whole
        items = [
            served.price_text("a red square", None, truncate=False, field="input[0]"),
            served.price_image(picture(30, 30)),
            served.price_image(broken),
            served.price_text("", None, truncate=False, field="input[3]"),
        ]
        found = await served.vectors(items)
        assert await served.vectors([]) == []
        assert await served.close(5)
        return found

    found = asyncio.run(scene())
    assert isinstance(found[2], ImageError)
    texts = encoder.encode_text(["a red square", ""], normalize=False)
    image = encoder.encode_image(picture(30, 30), normalize=False)
    for got, wanted in zip((found[0], found[3], found[1]), (*texts, image), strict=True):
        assert np.allclose(got, wanted, atol=1e-5)  # type: ignore[arg-type]


class Asked(LocalBackend):
    """Remembers what it is asked, and may be lost."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.calls: list[tuple[MessageKind, str | None, int]] = []
        self.lost = False

    async def run(
        self, kind: MessageKind, items: Sequence[ItemContent], task: str | None = None
    ) -> list[Vectors | Exception]:
        self.calls.append((kind, task, len(items)))
        if self.lost:
            raise BackendLost("gone")
        return await super().run(kind, items, None)


def opened(encoder: Encoder, **options: BatchLimits) -> tuple[ServedModel, Asked]:
    plain, tower = serve_encoder(encoder, LIMITS), Asked(encoder)
    served = ServedModel(plain.description, encoder.text_preparer, tower, image_limits=LIMITS, **options)
    served.start()
    return served, tower


def test_texts_of_several_tasks_share_a_batch_but_not_a_call(encoder: Encoder) -> None:
    async def scene() -> None:
        served, tower = opened(encoder)
        priced = [served.price_text(f"text {n}", None, truncate=False, field="input") for n in range(4)]
        tasked = [type(each)(each.text, each.tokens, "a" if n % 2 else None) for n, each in enumerate(priced)]
        found = await served.vectors(tasked)
        assert tower.calls == [("text", None, 2), ("text", "a", 2)]
        wanted = encoder.encode_text([each.text for each in priced], normalize=False)
        assert np.allclose(np.stack(found), wanted, atol=1e-5)  # type: ignore[arg-type]
        await served.close(5)

    asyncio.run(scene())


def test_pixels_are_remembered_by_shape_and_content(encoder: Encoder, tmp_path: Path) -> None:
    async def scene() -> None:
        served, tower = opened(encoder)
        with ThreadPoolExecutor(1) as threads:
            cache = VectorCache(tmp_path, 2**20)
            served.use_cache(cache, threads, Metrics())
            wide = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
            for pixels, calls in ((wide, 1), (wide.copy(), 1), (wide.reshape(9, 6, 3), 2), (wide + 1, 3)):
                (found,) = await served.vectors([served.price_pixels(pixels)])
                assert len(tower.calls) == calls
                assert np.array_equal(found, encoder.encode_image(pixels, normalize=False))  # type: ignore[arg-type]
            await served.close(5)
            cache.close()

    asyncio.run(scene())


def test_a_lost_tower_and_a_full_queue_are_busy(encoder: Encoder) -> None:
    async def scene() -> None:
        small = BatchLimits(batch_cost=10, batch_items=1, waiting_cost=10)
        served, tower = opened(encoder, text_queue=small)
        item = served.price_text("a dog", None, truncate=False, field="input")
        tower.lost = True
        with pytest.raises(Busy, match="gone") as lost:
            await served.vectors([item, served.price_image(picture(8, 8))])
        assert lost.value.headers["Retry-After"] == "2"
        tower.lost = False
        first = asyncio.create_task(served.vectors([item] * 20))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="too much is waiting"):
            await served.vectors([item])
        await first
        await served.close(5)

    asyncio.run(scene())
