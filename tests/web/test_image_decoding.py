"""An image on its way from the page to the model is decoded once, and never encoded again."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from starlette.testclient import TestClient

import babelclip
from babelclip.encoder import Encoder
from babelclip.prepare.open_image import ImageLimits
from babelclip.search.index import Index
from babelclip.serve.inference.in_process_encoder import InProcessEncoder
from babelclip.serve.inference.served_model import serve_encoder
from babelclip.web.app import make_page


@dataclass(slots=True)
class Codecs:
    """How often pixels were decoded from a file, and encoded into one."""

    decoded: int = 0
    encoded: int = 0


@pytest.fixture
def codecs(monkeypatch: pytest.MonkeyPatch) -> Codecs:
    """Counts from now on."""
    counted = Codecs()
    load, save = ImageFile.ImageFile.load, Image.Image.save

    def counted_load(image: ImageFile.ImageFile) -> object:
        counted.decoded += bool(image.tile)  # empty once the pixels are there
        return load(image)

    def counted_save(image: Image.Image, *arguments: object, **options: object) -> None:
        counted.encoded += 1
        save(image, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted_load)
    monkeypatch.setattr(Image.Image, "save", counted_save)
    return counted


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return babelclip.load(threads=1)


@pytest.fixture(scope="module")
def served(encoder: Encoder) -> Iterator[InProcessEncoder]:
    """The model as the page beside the API has it: behind the server's queues."""
    model, loop = serve_encoder(encoder, ImageLimits()), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    loop.call_soon_threadsafe(model.start)
    yield InProcessEncoder(model, loop)
    asyncio.run_coroutine_threadsafe(model.close(5), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module")
def photo(photos: Path) -> bytes:
    """One that EXIF turns."""
    return (photos / "elephants.jpg").read_bytes()


@pytest.fixture(scope="module")
def client(served: InProcessEncoder, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with Index.open(f"sqlite:{tmp_path_factory.mktemp('index')}/index.db", served, create=True) as index:
        index.add([photos / "elephants.jpg"])
        yield TestClient(make_page(index, served), base_url="http://localhost")


def test_a_search_by_an_image_decodes_it_once(client: TestClient, photo: bytes, codecs: Codecs) -> None:
    answer = client.post("/results", content=photo)
    assert 'data-score="cosine 1.000"' in answer.json()["html"]
    assert (codecs.decoded, codecs.encoded) == (1, 0)


def test_the_playground_decodes_each_image_once(client: TestClient, photo: bytes, codecs: Codecs) -> None:
    images = [{"name": "elephants.jpg", "content": base64.b64encode(photo).decode()}] * 2
    answer = client.post("/playground", json={"texts": ["an elephant"], "images": images})
    assert answer.status_code == 200
    assert (codecs.decoded, codecs.encoded) == (2, 0)


def test_where_decodes_the_photo_once_and_draws_one_picture(client: TestClient, codecs: Codecs) -> None:
    (row,) = client.get("/results").json()["html"].split('data-id="')[1:]
    id = row.partition('"')[0]
    answer = client.get(f"/where/{id}", params={"q": "an elephant"})
    assert answer.headers["content-type"] == "image/png"
    assert (codecs.decoded, codecs.encoded) == (1, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "turned", "array"])
def test_the_vector_is_the_encoders_own(
    encoder: Encoder, served: InProcessEncoder, photos: Path, photo: bytes, kind: str
) -> None:
    opened = Image.open(photos / "zebras.jpg")
    file = io.BytesIO()
    opened.save(file, "PNG" if kind == "PNG" else "JPEG")
    image = {"turned": photo, "array": np.asarray(opened)}.get(kind, file.getvalue())
    assert np.array_equal(served.upright().encode_image(image), encoder.upright().encode_image(image))
