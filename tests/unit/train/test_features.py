"""Feature stores: views, resumption after a kill, and errors."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from babelclip.errors import DatasetError
from babelclip.train.data.shards import read_packs
from babelclip.train.features import PARTS, FeatureStore, Views, make_features, pixels_of, region_means


def encoded(colour: tuple[int, ...], size: tuple[int, int] = (20, 10), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def write_pack(path: Path, number: int, *, broken: bool = False) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for i in range(number):
            kind = "caption" if i % 2 else "label"
            source = "shop" if i == 3 else "s"
            record = {"id": f"{path.stem}/{i}", "source": source, "kind": kind, "captions": {"en": ["x"]}}
            if broken:
                del record["source"]
            for name, content in ((f"{i}.png", encoded((i, 0, 0))), (f"{i}.json", json.dumps(record).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def run_trunk(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Stands for the trunk: the mean pixel everywhere."""
    return [np.full(shape, pixels.mean(), dtype=np.float32) for shape in ((1, 12, 2, 2), (1, 4, 8), (1, 10))]


def make(tmp_path: Path, run=run_trunk) -> FeatureStore:
    return make_features(
        tmp_path / "packs", tmp_path / "out", run, size=32, block=1, exclude_sources={"shop"},
        views=Views(captions=3, labels=1), threads=2,
    )  # fmt: skip


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    (tmp_path / "packs").mkdir()
    write_pack(tmp_path / "packs" / "a.tar.gz", 400)
    return tmp_path


def test_views_belong_to_their_photos(packs: Path) -> None:
    store = make(packs)
    assert len(store.records) == 399
    assert store.maps.shape == (200 + 3 * 199, 12, 2, 2)
    assert store.regions.shape == (200 + 3 * 199, 4, 8)
    assert store.logits.shape == (200 + 3 * 199, 10)
    row = int(np.flatnonzero((store.photos == 6) & (store.views == 0))[0])
    image = pixels_of(encoded((7, 0, 0)), store.records[6].key, 0, 32)
    assert store.records[6].key.endswith("/7")
    assert float(store.maps[row, 0, 0, 0]) == pytest.approx(float(image.mean()), abs=1e-3)


def test_an_interrupted_store_goes_on_and_equals_a_whole_one(packs: Path) -> None:
    calls = 0

    def dying(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        nonlocal calls
        calls += 1
        if calls > 600:
            raise RuntimeError("killed")
        return run_trunk(pixels)

    with pytest.raises(RuntimeError, match="killed"):
        make(packs, dying)
    calls = -10_000
    resumed = make(packs, dying)
    parts = [np.array(getattr(resumed, part)) for part in PARTS]
    assert calls + 10_000 < 400  # the first chunk of 512 was not computed again
    (packs / "out" / "plan.json").unlink()
    whole = make(packs)
    for part, expected in zip(PARTS, parts, strict=True):
        assert np.array_equal(getattr(whole, part), expected)


def test_a_store_of_another_plan_is_an_error(packs: Path) -> None:
    make(packs)
    with pytest.raises(DatasetError, match="another plan"):
        make_features(
            packs / "packs",
            packs / "out",
            run_trunk,
            size=64,
            block=1,
            exclude_sources={"shop"},
            views=Views(captions=3, labels=1),
            threads=1,
        )


def test_regions_are_quarters_that_share_the_middle() -> None:
    features = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert region_means(features)[0, :, 0].tolist() == [2.0, 3.0, 5.0, 6.0]
    assert region_means(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, :, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_view_0_is_what_inference_sees_and_others_are_reproducible() -> None:
    generator = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(generator.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(file, "PNG")
    plain, first, again = (pixels_of(file.getvalue(), "k", view, 32) for view in (0, 1, 1))
    assert plain.shape == (1, 3, 32, 32)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, plain)


def test_transparency_is_over_white() -> None:
    pixels = pixels_of(encoded((0, 0, 0, 0), mode="RGBA"), "k", 0, 8)
    assert np.allclose(pixels, (255 - 127) / 128)


def test_packs_that_are_not_as_documented(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no \*\.tar\.gz packs"):
        list(read_packs(tmp_path))
    write_pack(tmp_path / "b.tar.gz", 1, broken=True)
    with pytest.raises(DatasetError, match="source"):
        list(read_packs(tmp_path))
