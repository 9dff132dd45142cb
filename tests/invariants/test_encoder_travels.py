"""An encoder survives what frameworks do to it: copies, pickles, spawned and forked workers, pools of threads."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import babelclip
from babelclip.encoder import Encoder
from babelclip.errors import ConfigError, FolderError, ItemsError

TEXTS = ["a dog", "一只狗", "the bridge at dawn"]


@pytest.fixture
def folder(exported_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model folder that may be changed."""
    copied = tmp_path / "model"
    shutil.copytree(exported_folder("small_int8"), copied)
    return copied


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo that its EXIF data turn."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copy_gives_the_same_vectors(folder: Path, photo: Path, way: Callable[[Encoder], Encoder]) -> None:
    encoder = babelclip.load(folder, threads=1)
    twin = way(encoder)
    assert twin is not encoder
    assert twin.facts() == encoder.facts()
    assert np.array_equal(twin.encode_text(TEXTS), encoder.encode_text(TEXTS))
    assert np.array_equal(twin.encode_image(photo), encoder.encode_image(photo))


def test_how_photos_are_turned_travels_too(exported_folder: Callable[[str], Path], photo: Path) -> None:
    encoder = babelclip.load(exported_folder("v2_a"), threads=1)
    turned = pickle.loads(pickle.dumps(encoder.upright())).encode_image(photo)
    assert np.array_equal(turned, encoder.upright().encode_image(photo))
    assert not np.array_equal(turned, encoder.encode_image(photo))


def test_a_relative_folder_is_found_from_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    sent = pickle.dumps(babelclip.load("model", threads=1))
    monkeypatch.chdir("/")
    assert pickle.loads(sent).encode_text(TEXTS).shape == (3, 48)


def test_another_model_at_the_same_place_is_refused(folder: Path, exported_folder: Callable[[str], Path]) -> None:
    sent = pickle.dumps(babelclip.load(folder, threads=1))
    shutil.rmtree(folder)
    shutil.copytree(exported_folder("small_int4"), folder)
    with pytest.raises(FolderError, match=r"expected fingerprint .*Bring the same model here"):
        pickle.loads(sent)
    shutil.rmtree(folder)
    with pytest.raises(FolderError, match="there is no folder"):
        pickle.loads(sent)


def test_an_encoder_of_no_folder_says_why_it_cannot_travel(folder: Path) -> None:
    opened = babelclip.load(folder, threads=1)
    parts = Encoder(
        name="live",
        runtime=opened._runtime,
        text_preparer=opened.text_preparer,
        image_preparer=opened.image_preparer,
        dims=opened.dims,
    )
    assert np.array_equal(copy.deepcopy(parts).encode_text(TEXTS), opened.encode_text(TEXTS))
    with pytest.raises(ConfigError, match="'live' was not opened from a model folder"):
        pickle.dumps(parts)


def encode_in_worker(encoder: Encoder, texts: list[str | None]) -> tuple[int, np.ndarray]:
    return os.getpid(), encoder.encode_text(texts)  # type: ignore[arg-type]


def test_spawned_workers(folder: Path) -> None:
    """As data loaders, process pools and clusters do; errors come back whole."""
    encoder = babelclip.load(folder, threads=1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        process, vectors = pool.submit(encode_in_worker, encoder, TEXTS).result(timeout=120)
        assert process != os.getpid()
        assert np.array_equal(vectors, encoder.encode_text(TEXTS))
        with pytest.raises(ItemsError) as caught:
            pool.submit(encode_in_worker, encoder, ["a dog", None]).result(timeout=120)
    assert list(caught.value.failures) == [1]
    assert np.array_equal(caught.value.vectors[0], encoder.encode_text("a dog"))


def test_threads_may_share_one(folder: Path) -> None:
    encoder = babelclip.load(folder, threads=1)
    expected = encoder.encode_text(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: encoder.encode_text(TEXTS), range(32)):
            assert np.array_equal(found, expected)


FORKED = """
import os, sys, numpy, babelclip
encoder = babelclip.load(sys.argv[1], runtime=sys.argv[2], threads=2)
texts = [f"{number} dogs and a bridge at dawn" for number in range(40)]
before = encoder.encode_text(texts)
child = os.fork()
if not child:
    found = encoder.encode_text(texts)
    os._exit(0 if numpy.allclose(found, before, atol=1e-5) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_forked_workers(folder: Path, runtime: str) -> None:
    """The threads of a runtime do not survive a fork; torch would wait for them for ever."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(folder), runtime],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr
    assert ("torch computes in one thread" in done.stderr) == (runtime == "torch")
