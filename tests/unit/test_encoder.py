"""What people hold: shapes, options, order, failures, streams. The model is a fake whose vectors can be foretold."""

from __future__ import annotations

import io
import itertools
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.arrays import ImageBatch, TextBatch, Vectors
from babelclip.encoder import WINDOW, Encoder, open_encoder
from babelclip.errors import ConfigError, FetchError, FolderError, ItemsError, TruncationWarning, UnknownTask
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.text import TextPreparer

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "goldens" / "v2_a" / "tokenizer.json"
DIM = 8
SIZE = 4
POISON_ID = 100
"""A batch with this token id fails as a whole."""


class FakeRuntime:
    """A text's vector: its length in tokens, then a fixed tail. An image's: its mean brightness, then the tail."""

    def __init__(self) -> None:
        self.text_batches: list[TextBatch] = []
        self.image_batches: list[int] = []
        self.device = "cpu"

    def run_text(self, batch: TextBatch) -> Vectors:
        self.text_batches.append(batch)
        if (batch.token_ids == POISON_ID).any():
            raise RuntimeError("poisoned")
        return self._vectors((batch.token_ids != 1).sum(axis=1))

    def run_images(self, batch: ImageBatch) -> Vectors:
        self.image_batches.append(len(batch.pixels))
        return self._vectors(batch.pixels.mean(axis=(1, 2, 3)))

    def facts(self) -> dict[str, str | int]:
        return {"runtime": "fake", "device": self.device, "dtype": "float32", "threads": 1}

    @staticmethod
    def _vectors(first: np.ndarray) -> Vectors:
        vectors = np.ones((len(first), DIM), np.float32)
        vectors[:, 0] = first
        return vectors


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


def make_encoder(runtime: FakeRuntime, *, with_images: bool = True) -> Encoder:
    texts = TextPrepareConfig(max_tokens=32, instructions={"query": "the house: ", "plain": ""})
    images = ImagePrepareConfig(size=SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Encoder(
        name="fake",
        runtime=runtime,
        text_preparer=TextPreparer(TOKENIZER, texts),
        image_preparer=ImagePreparer(images) if with_images else None,
        dims=(2, 4, DIM),
        facts={"revision": "abc"},
    )


@pytest.fixture
def encoder(runtime: FakeRuntime) -> Encoder:
    return make_encoder(runtime)


def lengths(encoder: Encoder, texts: list[str]) -> list[int]:
    return [len(ids) for ids in encoder.tokenize(texts)]


def gray(value: int) -> Image.Image:
    return Image.new("RGB", (SIZE, SIZE), (value,) * 3)


# ---------------------------------------------------------------- what it is


def test_what_it_tells(encoder: Encoder) -> None:
    assert (encoder.name, encoder.dim, encoder.dims) == ("fake", DIM, (2, 4, DIM))
    assert (encoder.max_tokens, encoder.image_size) == (32, SIZE)
    facts = encoder.facts()
    assert {"model": "fake", "revision": "abc", "runtime": "fake", "device": "cpu"}.items() <= facts.items()


def test_tokenize_has_special_tokens_and_instruction(encoder: Encoder) -> None:
    plain, asked = encoder.tokenize(["a"])[0], encoder.tokenize(["a"], task="query")[0]
    assert (plain[0], plain[-1]) == (0, 2)
    assert len(asked) > len(plain)
    assert encoder.tokenize("a") == [plain]


# ---------------------------------------------------------------- shapes and order


def test_shapes(encoder: Encoder) -> None:
    assert encoder.encode_text("a").shape == (DIM,)
    assert encoder.encode_text(["a"]).shape == (1, DIM)
    assert encoder.encode_text([], dim=3).shape == (0, 3)
    assert encoder.encode_text(iter([])).dtype == np.float32
    assert encoder.encode_image(gray(3)).shape == (DIM,)
    assert encoder.encode_image([gray(3)]).shape == (1, DIM)
    assert encoder.encode_image([], dim=2).shape == (0, 2)


def test_any_iterable(encoder: Encoder) -> None:
    expected = encoder.encode_text(["a", "the house"])
    for texts in (("a", "the house"), iter(["a", "the house"]), np.array(["a", "the house"]), {"a": 1, "the house": 2}):
        np.testing.assert_array_equal(encoder.encode_text(texts), expected)


@pytest.mark.parametrize(
    "lone",
    [
        gray(9),
        np.full((5, 6, 3), 9, np.uint8),
        pytest.param("png", id="bytes"),
        pytest.param("file", id="file object"),
        pytest.param("path", id="path"),
        pytest.param("str", id="str"),
    ],
)
def test_one_image_in_every_form(encoder: Encoder, lone: Any, tmp_path: Path) -> None:
    stream = io.BytesIO()
    gray(9).save(stream, "PNG")
    (tmp_path / "gray.png").write_bytes(stream.getvalue())
    forms = {
        "png": stream.getvalue(),
        "file": io.BytesIO(stream.getvalue()),
        "path": tmp_path / "gray.png",
        "str": str(tmp_path / "gray.png"),
    }
    image = forms[lone] if isinstance(lone, str) else lone
    vector = encoder.encode_image(image, normalize=False)
    assert vector.shape == (DIM,)
    assert vector[0] == pytest.approx(9 / 255)


def test_a_stack_of_arrays_is_several_images(encoder: Encoder) -> None:
    assert encoder.encode_image(np.zeros((3, 5, 5, 3), np.uint8)).shape == (3, DIM)


def test_order_is_kept_over_windows_and_batches(encoder: Encoder, runtime: FakeRuntime) -> None:
    texts = ["a " * (1 + (7 * i) % 23) for i in range(WINDOW + 300)]
    vectors = encoder.encode_text(texts, normalize=False)
    assert vectors[:, 0].tolist() == lengths(encoder, texts)
    assert len(runtime.text_batches) > 10
    padding = sum(int((batch.token_ids == 1).sum()) for batch in runtime.text_batches)
    assert padding < 0.1 * sum(lengths(encoder, texts))  # lengths do not pay for each other


def test_images_travel_in_batches_and_keep_order(encoder: Encoder, runtime: FakeRuntime) -> None:
    vectors = encoder.encode_image((gray(i) for i in range(200)), normalize=False)
    np.testing.assert_allclose(vectors[:, 0], np.arange(200) / 255, atol=1e-6)
    assert max(runtime.image_batches) > 1


# ---------------------------------------------------------------- options


def test_cut_then_normalized(encoder: Encoder) -> None:
    raw = encoder.encode_text(["the house"], normalize=False)
    for dim in range(1, DIM + 1):
        cut = encoder.encode_text(["the house"], dim=dim)
        assert cut.shape == (1, dim)
        np.testing.assert_allclose(cut, raw[:, :dim] / np.linalg.norm(raw[:, :dim]), atol=1e-6)


@pytest.mark.parametrize("dim", [0, -1, DIM + 1, 2.0, "4", True])
def test_widths_that_do_not_exist(encoder: Encoder, runtime: FakeRuntime, dim: Any) -> None:
    for call in (encoder.encode_text, encoder.encode_image, encoder.stream):
        with pytest.raises(ConfigError, match=f"from 1 to {DIM}"):
            call(iter(["a"]), dim=dim)
    assert not runtime.text_batches


def test_unknown_task_before_any_work(encoder: Encoder, runtime: FakeRuntime) -> None:
    with pytest.raises(UnknownTask, match=r"'nonsense'.*'query', 'plain'"):
        encoder.encode_text(["a"], task="nonsense")
    with pytest.raises(UnknownTask):
        encoder.stream(["a"], task="nonsense")
    assert not runtime.text_batches


@pytest.mark.parametrize("max_tokens", [2, 33, 0, "8"])
def test_limits_that_do_not_exist(encoder: Encoder, max_tokens: Any) -> None:
    with pytest.raises(ConfigError, match="from 3"):
        encoder.encode_text([], max_tokens=max_tokens)


def test_one_warning_a_call_says_what_was_cut(encoder: Encoder) -> None:
    texts = ["a", "a " * 50, "a " * 60] * 2
    whole = [len(ids) for ids in map(list, _uncut(texts))]
    with pytest.warns(TruncationWarning) as caught:
        vectors = encoder.encode_text(texts, max_tokens=10, normalize=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    dropped = sum(max(0, length - 10) for length in whole)
    message = str(caught[0].message)
    assert "4 of 6 texts were cut to 10 tokens" in message
    assert f"{dropped:,} tokens" in message
    assert f"longest text had {max(whole)}" in message
    assert vectors[:, 0].tolist() == [min(10, length) for length in whole]


def _uncut(texts: list[str]) -> list[list[int]]:
    return TextPreparer(TOKENIZER, TextPrepareConfig(max_tokens=8192)).tokenize(texts).token_ids


def test_no_warning_without_a_cut(encoder: Encoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_text(["a", "the house"])


def test_stream_warns_once_at_its_end(encoder: Encoder) -> None:
    stream = encoder.stream(["a " * 60, "a"])
    with pytest.warns(TruncationWarning) as caught:
        list(stream)
    assert len(caught) == 1


# ---------------------------------------------------------------- failures


def test_failures_name_items_and_lose_nothing(encoder: Encoder) -> None:
    texts: list[Any] = ["a", None, "the house", 7, b"bytes", "\ud800", "of"]
    with pytest.raises(ItemsError) as caught:
        encoder.encode_text(texts, dim=4)
    error = caught.value
    assert sorted(error.failures) == [1, 3, 4, 5]
    assert "NoneType" in error.failures[1]
    assert "surrogate" in error.failures[5]
    assert error.vectors.shape == (7, 4)
    assert np.isnan(error.vectors[[1, 3, 4, 5]]).all()
    np.testing.assert_array_equal(error.vectors[[0, 2, 6]], encoder.encode_text(["a", "the house", "of"], dim=4))
    assert error.__cause__ is not None


def test_broken_images_fail_alone(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    images = [gray(1), tmp_path / "absent.jpg", gray(2), b"", tmp_path / "text.jpg", 17, gray(3)]
    with pytest.raises(ItemsError) as caught:
        encoder.encode_image(images, normalize=False)
    assert sorted(caught.value.failures) == [1, 3, 4, 5]
    assert "absent.jpg" in caught.value.failures[1]
    np.testing.assert_allclose(caught.value.vectors[[0, 2, 6], 0], np.array([1, 2, 3]) / 255, atol=1e-6)


def test_a_lone_item_that_fails(encoder: Encoder) -> None:
    for call, item in ((encoder.encode_text, None), (encoder.encode_text, b"bytes"), (encoder.encode_image, 17)):
        with pytest.raises(ItemsError) as caught:
            call(item)  # type: ignore[operator]
        assert list(caught.value.failures) == [0]
        assert caught.value.vectors.shape == (1, DIM)


def test_item_that_breaks_its_batch_fails_alone(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenize = encoder.text_preparer.tokenize

    def poison(texts: Any, task: Any = None, max_tokens: Any = None) -> Any:
        result = tokenize(texts, task, max_tokens)
        for text, ids in zip(texts, result.token_ids, strict=True):
            if text == "bad":
                ids[1] = POISON_ID
        return result

    monkeypatch.setattr(encoder.text_preparer, "tokenize", poison)
    texts = ["a"] * 20 + ["bad"] + ["the house"] * 20 + ["bad"]
    with pytest.raises(ItemsError) as caught:
        encoder.encode_text(texts)
    assert sorted(caught.value.failures) == [20, 41]
    assert caught.value.failures[20] == "could not be embedded: RuntimeError: poisoned"
    assert np.isfinite(np.delete(caught.value.vectors, [20, 41], axis=0)).all()


def test_vectors_that_are_not_finite_are_failures(encoder: Encoder, runtime: FakeRuntime) -> None:
    run = runtime.run_images

    def spoil(batch: ImageBatch) -> Vectors:
        vectors = run(batch)
        vectors[batch.pixels.mean(axis=(1, 2, 3)) > 0.5, 3] = np.inf
        return vectors

    runtime.run_images = spoil  # type: ignore[method-assign]
    with pytest.raises(ItemsError, match="NaN or infinity") as caught:
        encoder.encode_image([gray(1), gray(200), gray(2)], normalize=False)
    assert list(caught.value.failures) == [1]


def test_text_only_model_refuses_images(runtime: FakeRuntime) -> None:
    encoder = make_encoder(runtime, with_images=False)
    assert encoder.image_size is None
    with pytest.raises(ConfigError, match="fake embeds texts only"):
        encoder.encode_image([gray(1)])
    with pytest.raises(ConfigError, match="embeds texts only"):
        encoder.stream([gray(1)], kind="image")
    first, second = encoder.stream(["a", gray(1)])
    assert first.vector is not None
    assert "embeds texts only" in str(second.error)


def test_a_source_that_breaks_is_the_callers_error(encoder: Encoder) -> None:
    def source() -> Iterator[str]:
        yield "a"
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        encoder.encode_text(source())


# ---------------------------------------------------------------- streams


def test_stream_mixes_kinds_and_errors(encoder: Encoder, tmp_path: Path) -> None:
    gray(5).save(tmp_path / "gray.png")
    items: list[Any] = ["a", gray(5), str(tmp_path / "gray.png"), None, "the house", "mistyped.jpg", "see cat.jpg"]
    results = list(encoder.stream(items, normalize=False))
    assert [item.index for item in results] == list(range(7))
    assert [item.error is None for item in results] == [True, True, True, False, True, False, True]
    assert all((item.vector is None) == (item.error is not None) for item in results)
    assert "mistyped.jpg" in str(results[5].error)
    assert results[2].vector is not None
    assert results[2].vector[0] == pytest.approx(5 / 255)


def test_stream_takes_kinds_as_told(encoder: Encoder) -> None:
    (as_text,) = encoder.stream(["cat.jpg"], kind="text")
    assert as_text.vector is not None
    (as_image,) = encoder.stream(["a house"], kind="image")
    assert as_image.error is not None
    with pytest.raises(ConfigError, match="kind must be auto, text or image"):
        encoder.stream([], kind="sound")  # type: ignore[arg-type]


def test_stream_equals_encode(encoder: Encoder) -> None:
    texts = ["a", "the house", "of the day"]
    streamed = np.stack([item.vector for item in encoder.stream(texts, dim=4, task="query")])  # type: ignore[misc]
    np.testing.assert_array_equal(streamed, encoder.encode_text(texts, dim=4, task="query"))


def test_stream_of_images_holds_few(encoder: Encoder) -> None:
    """Of an endless source, only what the next batches need is taken, and nothing that was handed on is kept."""
    taken = 0
    alive: list[weakref.ref[Image.Image]] = []

    def source() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            image = gray(taken % 255)
            alive.append(weakref.ref(image))
            yield image

    stream = encoder.stream(source())
    for item in itertools.islice(stream, 1000):
        assert taken - item.index < 300
    assert sum(ref() is not None for ref in alive) < 300
    stream.close()  # type: ignore[attr-defined]


def test_stream_of_texts_holds_few(encoder: Encoder) -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "a"

    for item in itertools.islice(encoder.stream(source()), 3 * WINDOW):
        assert taken - item.index <= 2 * WINDOW


def test_long_texts_make_small_windows(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("babelclip.encoder.WINDOW_CHARACTERS", 100)
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield "a " * 20

    with pytest.warns(TruncationWarning):
        held = [taken - item.index for item in encoder.stream(source(), max_tokens=10)]
    assert max(held) <= 4


def test_decoding_overlaps_with_the_model(
    encoder: Encoder, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the model runs on one batch, threads prepare the next."""
    prepared = 0
    lock = threading.Lock()
    prepare = ImagePreparer.crop_picture

    def count(self: ImagePreparer, source: Any) -> Any:
        nonlocal prepared
        with lock:
            prepared += 1
        return prepare(self, source)

    seen: list[int] = []
    run = runtime.run_images

    def slow(batch: ImageBatch) -> Vectors:
        before = prepared
        deadline = time.monotonic() + 5
        while prepared == before and time.monotonic() < deadline and sum(runtime.image_batches) < 150:
            time.sleep(0.002)
        seen.append(prepared - before)
        return run(batch)

    monkeypatch.setattr(ImagePreparer, "crop_picture", count)
    runtime.run_images = slow  # type: ignore[method-assign]
    vectors = encoder.encode_image([gray(i % 255) for i in range(300)])
    assert len(vectors) == prepared == 300
    assert sum(seen) > 0


# ---------------------------------------------------------------- progress, threads, devices


def test_progress_goes_to_stderr(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    encoder.encode_text(["a"] * 5, progress=True)
    encoder.encode_image((gray(i) for i in range(3)), progress=True)
    assert capsys.readouterr().out == ""


def test_threads_share_an_encoder(encoder: Encoder) -> None:
    texts = [f"a {'the ' * i}" for i in range(20)]
    expected = encoder.encode_text(texts)
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                np.testing.assert_array_equal(encoder.encode_text(texts), expected)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_other_devices_get_larger_batches() -> None:
    sizes = {}
    for device in ("cpu", "cuda:0"):
        runtime = FakeRuntime()
        runtime.device = device
        make_encoder(runtime).encode_text(["a " * 20] * 500)
        sizes[device] = max(len(batch.token_ids) for batch in runtime.text_batches)
    assert sizes["cpu"] * 4 < sizes["cuda:0"]


# ---------------------------------------------------------------- loading


def test_load_tells_folders_and_names_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "a-file").write_text("x")
    for source, error, message in (
        (tmp_path / "absent", FolderError, "there is no folder"),
        ("/absent/model", FolderError, "there is no folder"),
        ("./absent", FolderError, "there is no folder"),
        ("no-slash", FolderError, "org/name"),
        ("a/b/c", FolderError, "org/name"),
        ("a-file", FolderError, "is not a folder"),
        (tmp_path, FolderError, "config.json"),
    ):
        with pytest.raises(error, match=message):
            babelclip.load(source)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE"):
        babelclip.load("nobody/no-such-model")


def test_loaded_encoder_knows_its_model(exported_folder: Callable[[str], Path]) -> None:
    encoder = open_encoder(exported_folder("v2_a"), threads=1)
    assert encoder.logit_scale == pytest.approx(np.exp(2.3076), rel=0.1)
    assert encoder.dim == encoder.dims[-1] == 64
    facts = encoder.facts()
    assert {"model", "revision", "fingerprint", "dim", "runtime", "device", "dtype", "threads"} <= set(facts)
    assert facts["threads"] == 1
    assert open_encoder(exported_folder("tiny")).logit_scale is None
