"""One suite for everything that stands for an encoder: in this process, on a server, beside a server, under training.

What one of them cannot do it refuses, and says why.
"""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image

import babelclip
from babelclip import ConfigError, Encodes, ItemsError, RemoteEncoder, TruncationWarning, UnknownTask
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import read_folder
from babelclip.encoder import Encoder
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import ImageLimits
from babelclip.prepare.text import TextPreparer
from babelclip.serve.app import make_app
from babelclip.serve.inference.in_process_encoder import InProcessEncoder
from babelclip.serve.inference.served_model import serve_encoder
from babelclip.serve.settings import ServerSettings
from babelclip.train.live_encoder import live_encoder

KINDS = ("local", "remote", "remote, whole images", "in process", "live")
AGREE = 1e-4
MAX_TOKENS = 64
TEXTS = ["a dog", "一只狗", "the bridge at dawn", "", "un puente"]


@contextmanager
def served(encoder: Encoder) -> Iterator[str]:
    """The address of a real server on this machine."""
    app = make_app(encoder, ServerSettings(max_items=3))  # so that a call takes several requests
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@contextmanager
def in_process(encoder: Encoder) -> Iterator[InProcessEncoder]:
    """What is mounted beside a server has: a served model, and the loop that it runs in."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    model = serve_encoder(encoder, ImageLimits())

    async def start() -> None:
        model.start()

    asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    yield InProcessEncoder(model, loop)
    asyncio.run_coroutine_threadsafe(model.close(5), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def folder(exported_folder: Callable[[str], Path]) -> Path:
    return exported_folder("v2_a")


@pytest.fixture(scope="module")
def texts(folder: Path) -> TextPreparer:
    """Of a short context, so that long texts are soon too long."""
    read = read_folder(folder)
    return TextPreparer(read.tokenizer_file, replace(read.text_prepare, max_tokens=MAX_TOKENS))


@pytest.fixture(scope="module")
def local(folder: Path, texts: TextPreparer) -> Encoder:
    encoder = babelclip.load(folder, threads=1)
    encoder.text_preparer = texts
    return encoder


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(kind: str, folder: Path, texts: TextPreparer, local: Encoder) -> Iterator[Encodes]:
    with ExitStack() as stack:
        if kind == "local":
            yield local
        elif kind == "live":
            read = read_folder(folder)
            assert read.image_prepare is not None
            towers, images = load_towers(read, adapters="live"), ImagePreparer(read.image_prepare)
            yield live_encoder(towers, texts, images, torch.device("cpu"))
        elif kind == "in process":
            yield stack.enter_context(in_process(local))
        else:
            address = stack.enter_context(served(local))
            yield stack.enter_context(RemoteEncoder(address, shrink_images=kind == "remote"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """An image as everything that an image may be; the first is a photo that its EXIF data turn."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image, exif, file = Image.fromarray(noise), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    photo = tmp_path_factory.mktemp("photos") / "photo.png"
    image.save(photo, exif=exif)
    image.save(file, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return [photo, str(photo), file.getvalue(), io.BytesIO(file.getvalue()), image, noise, uri]


def test_it_tells_what_it_is(encoder: Encodes, local: Encoder, kind: str) -> None:
    assert (encoder.dim, encoder.dims) == (local.dim, local.dims)
    assert encoder.image_size == local.image_size
    assert encoder.max_tokens == local.max_tokens
    facts = encoder.facts()
    assert facts["dim"] == local.dim
    if kind != "live":  # its weights change
        assert (encoder.name, encoder.logit_scale) == (local.name, local.logit_scale)
        assert facts["fingerprint"] == local.facts()["fingerprint"]


def test_texts(encoder: Encodes, local: Encoder) -> None:
    assert np.allclose(encoder.encode_text(TEXTS), local.encode_text(TEXTS), atol=AGREE)
    assert np.allclose(encoder.encode_text(iter(TEXTS)), local.encode_text(TEXTS), atol=AGREE)
    lone = encoder.encode_text("a dog")
    assert (lone.shape, lone.dtype) == ((local.dim,), np.float32)
    assert encoder.encode_text([]).shape == (0, local.dim)
    assert np.linalg.norm(encoder.encode_text(TEXTS), axis=1) == pytest.approx(1, abs=1e-5)


def test_widths_and_raw_vectors(encoder: Encodes, local: Encoder) -> None:
    for dim in (1, local.dims[0], local.dim):
        assert np.allclose(encoder.encode_text(TEXTS, dim=dim), local.encode_text(TEXTS, dim=dim), atol=AGREE)
    raw = encoder.encode_text(TEXTS, normalize=False)
    assert np.allclose(raw, local.encode_text(TEXTS, normalize=False), atol=AGREE)
    for wrong in (0, local.dim + 1, True, 8.0):
        with pytest.raises(ConfigError, match=f"from 1 to {local.dim}"):
            encoder.encode_text(TEXTS, dim=wrong)  # type: ignore[arg-type]


def test_tasks(encoder: Encodes, local: Encoder) -> None:
    (task,) = local.text_preparer.tasks[:1]
    with_task = encoder.encode_text(TEXTS, task=task)
    assert np.allclose(with_task, local.encode_text(TEXTS, task=task), atol=AGREE)
    assert not np.allclose(with_task, local.encode_text(TEXTS), atol=AGREE)
    for unknown in ("poetry", "separation"):  # the server takes Jina's five and ignores those that a model has not
        with pytest.raises(UnknownTask, match=f"unknown task '{unknown}'"):
            encoder.encode_text(TEXTS, task=unknown)
        with pytest.raises(UnknownTask):
            list(encoder.stream(TEXTS, task=unknown))


def test_images_of_every_kind(encoder: Encodes, local: Encoder, pictures: list[object]) -> None:
    wanted = local.encode_image(pictures)  # type: ignore[arg-type]
    assert np.allclose(encoder.encode_image(pictures), wanted, atol=AGREE)  # type: ignore[arg-type]
    assert np.allclose(encoder.encode_image(iter(pictures)), wanted, atol=AGREE)  # type: ignore[arg-type]
    lone = encoder.encode_image(pictures[2], dim=8, normalize=False)  # type: ignore[arg-type]
    wanted = local.encode_image(pictures[2], dim=8, normalize=False)  # type: ignore[arg-type]
    assert np.allclose(lone, wanted, atol=AGREE)
    assert encoder.encode_image([]).shape == (0, local.dim)


def test_photos_are_turned_where_that_is_possible(
    encoder: Encodes, local: Encoder, pictures: list[object], kind: str
) -> None:
    if kind == "remote, whole images":
        with pytest.raises(ConfigError, match="sent whole cannot be turned here"):
            encoder.upright()
        return
    turned = encoder.upright().encode_image(pictures[0])  # type: ignore[arg-type]
    assert np.allclose(turned, local.upright().encode_image(pictures[0]), atol=AGREE)  # type: ignore[arg-type]
    assert not np.allclose(turned, local.encode_image(pictures[0]), atol=AGREE)  # type: ignore[arg-type]


def test_an_item_that_fails_costs_only_itself(encoder: Encodes, local: Encoder, pictures: list[object]) -> None:
    with pytest.raises(ItemsError) as caught:
        encoder.encode_text(["a dog", 3, "un puente"])  # type: ignore[list-item]
    assert list(caught.value.failures) == [1]
    assert np.isnan(caught.value.vectors[1]).all()
    assert np.allclose(caught.value.vectors[[0, 2]], local.encode_text(["a dog", "un puente"]), atol=AGREE)
    with pytest.raises(ItemsError) as caught:
        encoder.encode_image([pictures[2], b"no image", "missing.jpg", pictures[5]])  # type: ignore[list-item]
    assert list(caught.value.failures) == [1, 2]
    wanted = local.encode_image([pictures[2], pictures[5]])  # type: ignore[list-item]
    assert np.allclose(caught.value.vectors[[0, 3]], wanted, atol=AGREE)


def test_a_stream_of_both_kinds_in_order(encoder: Encodes, local: Encoder, pictures: list[object]) -> None:
    items = ["a dog", pictures[2], "un puente", b"no image", pictures[4], "x"]
    found = list(encoder.stream(iter(items), dim=8))  # type: ignore[arg-type]
    assert [each.index for each in found] == list(range(6))
    assert [each.error is None for each in found] == [True, True, True, False, True, True]
    for each, wanted in zip(found, local.stream(items, dim=8), strict=True):  # type: ignore[arg-type]
        if wanted.vector is not None:
            assert each.vector is not None
            assert np.allclose(each.vector, wanted.vector, atol=AGREE)
    with pytest.raises(ConfigError, match="auto, text or image"):
        encoder.stream(["a"], kind="sound")  # type: ignore[arg-type]


def test_a_smaller_limit_of_tokens_or_why_there_is_none(encoder: Encodes, local: Encoder, kind: str) -> None:
    long = "one two three four five six seven eight"
    if kind in ("local", "live"):
        with pytest.warns(TruncationWarning):
            cut = encoder.encode_text(long, max_tokens=5)
        with pytest.warns(TruncationWarning):
            assert np.allclose(cut, local.encode_text(long, max_tokens=5), atol=AGREE)
    else:
        with pytest.raises(ConfigError, match=r"max_tokens cannot be (sent|told) to .*its (model's )?own limit"):
            encoder.encode_text(long, max_tokens=5)


def test_texts_that_are_cut_are_told_once_a_call(encoder: Encodes, local: Encoder, kind: str) -> None:
    long = ["word " * (MAX_TOKENS + 10)] * 7  # several requests
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = encoder.encode_text(long)
    with pytest.warns(TruncationWarning):
        assert np.allclose(found, local.encode_text(long), atol=AGREE)
    said = [str(each.message) for each in told if issubclass(each.category, TruncationWarning)]
    if kind.startswith("remote"):
        said = [each for each in said if "the server has cut" in each]  # the server of this test is in this process
    if kind != "in process":  # its log does not say: a page shows what it has cut
        assert len(said) == 1


def test_token_ids_or_why_there_are_none(encoder: Encodes, kind: str, local: Encoder) -> None:
    if isinstance(encoder, Encoder):
        assert encoder.tokenize(TEXTS) == local.tokenize(TEXTS)
    elif isinstance(encoder, RemoteEncoder):
        with pytest.raises(ConfigError, match="token ids stay with the server"):
            encoder.tokenize(TEXTS)


def test_everything_that_an_encoder_has_a_remote_one_has(encoder: Encodes, local: Encoder) -> None:
    def abilities(given: Encodes) -> set[str]:
        return {name for name in dir(given) if not name.startswith("_")}

    if isinstance(encoder, RemoteEncoder):
        assert abilities(local) - abilities(encoder) == {"text_preparer", "image_preparer", "free_memory"}
