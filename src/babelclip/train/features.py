"""The frozen trunk's feature maps of every training photo, computed once and kept on disk.

With them an epoch of the image stage costs seconds per thousand photos instead of a pass through the trunk. Each photo
is kept in several *views*: view 0 is what the model sees at inference, the others are augmented, the same at every run.
"""

from __future__ import annotations

import io
import itertools
import json
import threading
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from babelclip.errors import ConfigError, DatasetError
from babelclip.towers.config import ConvTrunkConfig
from babelclip.towers.patches import ConvTrunk
from babelclip.train.data.shards import PhotoRecord, read_packs
from babelclip.train.pretrained import ImageTrunk

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""EfficientNet-Lite's own input scaling, the same in every channel."""

RunTrunk = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Pixels (1, 3, S, S) -> feature map (1, C, S/32, S/32), callable from several threads."""


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """Feature maps and what they belong to: row i is view ``views[i]`` of ``records[photos[i]]``."""

    records: tuple[PhotoRecord, ...]
    photos: NDArray[np.int64]  # (N,)
    views: NDArray[np.int64]  # (N,)
    maps: NDArray[np.float16]  # (N, C, G, G), a memory map


def augment(image: Image.Image, generator: np.random.Generator, *, degrade: float) -> Image.Image:
    """A random crop (half to all of the area), aspect, flip and sometimes a loss of resolution."""
    width, height = image.size
    area = generator.uniform(0.5, 1.0)
    stretch = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)) / 2)
    crop_width = int(min(width, max(1, round(width * area**0.5 * stretch))))
    crop_height = int(min(height, max(1, round(height * area**0.5 / stretch))))
    left, top = generator.integers(width - crop_width + 1), generator.integers(height - crop_height + 1)
    image = image.crop((int(left), int(top), int(left) + crop_width, int(top) + crop_height))
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if generator.random() < degrade:  # tiny pictures blown up, as in CIFAR or thumbnails
        side = int(generator.integers(28, 72))
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return image


def pixels_of(encoded: bytes, key: str, view: int, size: int) -> NDArray[np.float32]:
    """One view of an encoded image as the trunk's input (1, 3, S, S)."""
    image: Image.Image = Image.open(io.BytesIO(encoded))
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    if view > 0:
        image = augment(image, np.random.default_rng([zlib.crc32(key.encode()), view]), degrade=0.25)
    squashed = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    return np.ascontiguousarray(((squashed - PIXEL_MEAN) / PIXEL_STD).transpose(2, 0, 1)[None])


class _FeatureMap(torch.nn.Module):
    def __init__(self, trunk: ConvTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.trunk.feature_map(pixels)


def open_trunk(trunk: ImageTrunk, engine: str, size: int, folder: Path) -> RunTrunk:
    """The trunk up to its 1x1 head as a function: ONNX Runtime (float32) or OpenVINO (bfloat16 where the CPU has it).

    Measured on two cores with AVX-512 BF16: torch 47, ONNX Runtime 140, OpenVINO 265 images/s.
    """
    module = ConvTrunk(ConvTrunkConfig.efficientnet_lite2())
    module.load_state_dict(dict(trunk.tensors))
    graph = folder / f"trunk-{size}.onnx"
    if not graph.is_file():
        pixels = torch.zeros(1, 3, size, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about its inner parts
            torch.onnx.export(
                _FeatureMap(module).eval(), (pixels,), graph, dynamo=True, external_data=False, verbose=False
            )
    local = threading.local()
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda pixels: session.run(None, {name: pixels})[0]
    if engine == "openvino":
        import openvino

        properties: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        compiled = openvino.Core().compile_model(str(graph), "CPU", properties)

        def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            outputs = local.request.infer({0: pixels})
            return np.array(outputs[compiled.output(0)], dtype=np.float32)

        return run
    raise ConfigError(f"unknown trunk engine {engine!r}: expected 'onnxruntime' or 'openvino'")


def plan_views(record: PhotoRecord, caption_views: int, label_views: int) -> int:
    """How many views of a photo are kept: captions say more about a photo than a label does."""
    return caption_views if record.kind == "caption" else label_views


def make_features(
    packs: Path,
    folder: Path,
    run: RunTrunk,
    *,
    size: int,
    exclude_sources: Collection[str],
    caption_views: int,
    label_views: int,
    threads: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureStore:
    """Compute what is missing of a feature store and open it. A killed run goes on where its last chunk ended."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = [plan_views(record, caption_views, label_views) for record, _ in read_packs(packs, exclude_sources)]
    total, grid = sum(counts), -(-size // 32)
    channels = ConvTrunkConfig.efficientnet_lite2().stages[-1].width
    shape = (total, channels, grid, grid)
    plan = {"shape": shape, "size": size, "views": [caption_views, label_views], "excluded": sorted(exclude_sources)}
    done = _resume_point(folder, plan)
    mode: Literal["r+", "w+"] = "r+" if (folder / "maps.f16").is_file() else "w+"
    maps: NDArray[np.float16] = np.memmap(folder / "maps.f16", dtype=np.float16, mode=mode, shape=shape)

    def compute(row: int, record: PhotoRecord, encoded: bytes, view: int) -> None:
        maps[row] = run(pixels_of(encoded, record.key, view, size))[0].astype(np.float16)

    def jobs() -> Iterator[tuple[int, PhotoRecord, bytes, int]]:
        row = 0
        for record, encoded in read_packs(packs, exclude_sources):
            for view in range(plan_views(record, caption_views, label_views)):
                if row >= done:
                    yield row, record, encoded, view
                row += 1

    with ThreadPoolExecutor(threads) as pool:
        queue = jobs()
        while chunk := list(itertools.islice(queue, 512)):
            futures: list[Future[None]] = [pool.submit(compute, *job) for job in chunk]
            for future in futures:
                future.result()
            done = chunk[-1][0] + 1
            (folder / "plan.json").write_text(json.dumps({**plan, "done": done}))
            progress(done, total)
    return open_features(packs, folder, exclude_sources)


def _resume_point(folder: Path, plan: dict[str, Any]) -> int:
    file = folder / "plan.json"
    if not file.is_file():
        return 0
    found = json.loads(file.read_text())
    done = int(found.pop("done"))
    if found != json.loads(json.dumps(plan)):
        raise DatasetError(f"{folder} holds features of another plan ({found}); expected {plan}. Remove it")
    return done


def open_features(packs: Path, folder: Path, exclude_sources: Collection[str]) -> FeatureStore:
    """Open a finished store. Raises: DatasetError when it is absent or unfinished."""
    file = folder / "plan.json"
    if not file.is_file():
        raise DatasetError(f"no feature store in {folder}; run the recipe's feature stage first")
    plan = json.loads(file.read_text())
    shape = tuple(plan["shape"])
    if plan["done"] != shape[0]:
        raise DatasetError(f"the feature store {folder} has {plan['done']} of {shape[0]} rows; run its stage again")
    records = tuple(record for record, _ in read_packs(packs, exclude_sources))
    counts = [plan_views(record, *plan["views"]) for record in records]
    photos = np.repeat(np.arange(len(records)), counts)
    views = np.concatenate([np.arange(count) for count in counts])
    maps: NDArray[np.float16] = np.memmap(folder / "maps.f16", dtype=np.float16, mode="r", shape=shape)
    return FeatureStore(records, photos, views, maps)
