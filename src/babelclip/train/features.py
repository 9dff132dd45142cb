"""What the pretrained trunk makes of every training photo, computed once and kept on disk.

Kept are the map after the trunk's lower blocks, which are never trained; the head's output, averaged over four regions
of the image; and what the trunk's classifier says. With them an epoch of an image stage costs seconds per thousand
photos instead of a pass through the trunk. Each photo is kept in several *views*: view 0 is what the model sees at
inference, the others are augmented, the same at every run.
"""

from __future__ import annotations

import io
import itertools
import json
import threading
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from babelclip.errors import ConfigError, DatasetError
from babelclip.towers.config import ConvTrunkConfig
from babelclip.towers.patches import ConvTrunk
from babelclip.train.augment import augment
from babelclip.train.data.shards import PhotoRecord, read_packs
from babelclip.train.pretrained import ImageTrunk

PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
"""EfficientNet-Lite's own input scaling, the same in every channel."""

PARTS = ("maps", "regions", "logits")

RunTrunk = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]
"""Pixels (1, 3, S, S) -> the three parts of a `FeatureStore`, a row of each; callable from several threads."""


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """Stored parts and what they belong to: row i is view ``views[i]`` of ``records[photos[i]]``."""

    records: tuple[PhotoRecord, ...]
    photos: NDArray[np.int64]  # (N,)
    views: NDArray[np.int64]  # (N,)
    maps: NDArray[np.float16]  # (N, C, G, G): after the trunk's first ``block`` blocks; a memory map, as the others
    regions: NDArray[np.float16]  # (N, 4, head_width): upper left, upper right, lower left, lower right
    logits: NDArray[np.float16]  # (N, classes)
    block: int


def pixels_of(encoded: bytes, key: str, view: int, size: int, *, degrade: float = 0.25) -> NDArray[np.float32]:
    """One view of an image as the trunk's input (1, 3, S, S). degrade: how often an augmented one loses pixels."""
    image: Image.Image = Image.open(io.BytesIO(encoded))
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB")
    if view > 0:
        image = augment(image, np.random.default_rng([zlib.crc32(key.encode()), view]), degrade=degrade)
    squashed = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    return np.ascontiguousarray(((squashed - PIXEL_MEAN) / PIXEL_STD).transpose(2, 0, 1)[None])


class _Parts(torch.nn.Module):
    def __init__(self, trunk: ImageTrunk, block: int) -> None:
        super().__init__()
        self.trunk = ConvTrunk(ConvTrunkConfig.efficientnet_lite2())
        self.trunk.load_state_dict(dict(trunk.tensors))
        self.classifier = torch.nn.Linear(trunk.classifier_weight.shape[1], trunk.classifier_weight.shape[0])
        self.classifier.load_state_dict({"weight": trunk.classifier_weight, "bias": trunk.classifier_bias})
        self.block = block

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps = self.trunk.feature_map(pixels, self.block)
        features = torch.nn.functional.relu6(self.trunk.head(self.trunk.through(maps, self.block)))
        logits = self.classifier(features.mean(dim=(2, 3)))
        return maps, region_means(features), logits


def region_means(features: torch.Tensor) -> torch.Tensor:
    """Means over four quarters, which share the middle row and column of an odd grid: (B, C, G, G) -> (B, 4, C)."""
    half = -(-features.shape[-1] // 2)
    first, last = slice(None, half), slice(features.shape[-1] - half, None)
    quarters = [features[:, :, rows, columns].mean(dim=(2, 3)) for rows in (first, last) for columns in (first, last)]
    return torch.stack(quarters, dim=1)


def open_trunk(trunk: ImageTrunk, engine: str, size: int, block: int, folder: Path) -> RunTrunk:
    """The trunk as a function to `FeatureStore`'s parts: ONNX Runtime (float32) or OpenVINO (bfloat16 where the CPU
    has it).

    Measured on two cores with AVX-512 BF16: torch 47, ONNX Runtime 140, OpenVINO 265 images/s.
    """
    graph = folder / f"trunk-{size}-{block}.onnx"
    if not graph.is_file():
        pixels = torch.zeros(1, 3, size, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about its inner parts
            torch.onnx.export(
                _Parts(trunk, block).eval(), (pixels,), graph, dynamo=True, external_data=False, verbose=False
            )
    local = threading.local()
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda pixels: session.run(None, {name: pixels})
    if engine == "openvino":
        import openvino

        properties: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        compiled = openvino.Core().compile_model(str(graph), "CPU", properties)

        def run(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            if not hasattr(local, "request"):
                local.request = compiled.create_infer_request()
            outputs = local.request.infer({0: pixels})
            return [np.array(outputs[place], dtype=np.float32) for place in range(len(PARTS))]

        return run
    raise ConfigError(f"unknown trunk engine {engine!r}: expected 'onnxruntime' or 'openvino'")


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """How many views of a photo are kept, and how often an augmented one is tiny first and blown up.

    Captions say more about a photo than a label does, and need the details that a label does not.
    """

    captions: int
    labels: int
    degrade_captions: float = 0.25
    degrade_labels: float = 0.25

    def number(self, record: PhotoRecord) -> int:
        return self.captions if record.kind == "caption" else self.labels

    def degrade(self, record: PhotoRecord) -> float:
        return self.degrade_captions if record.kind == "caption" else self.degrade_labels


def make_features(
    packs: Path,
    folder: Path,
    run: RunTrunk,
    *,
    size: int,
    block: int,
    exclude_sources: Collection[str],
    views: Views,
    threads: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureStore:
    """Compute what is missing of a feature store and open it. A killed run goes on where its last chunk ended.

    block: how many of the trunk's blocks lie below the stored maps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(views.number(record) for record, _ in read_packs(packs, exclude_sources))
    shapes = [[total, *part.shape[1:]] for part in run(np.zeros((1, 3, size, size), dtype=np.float32))]
    plan = {"shapes": shapes, "size": size, "block": block, "views": asdict(views), "excluded": sorted(exclude_sources)}
    done = _resume_point(folder, plan)
    arrays = [_map(folder, part, shape, for_writing=True) for part, shape in zip(PARTS, shapes, strict=True)]

    def compute(row: int, record: PhotoRecord, encoded: bytes, view: int) -> None:
        pixels = pixels_of(encoded, record.key, view, size, degrade=views.degrade(record))
        for array, part in zip(arrays, run(pixels), strict=True):
            array[row] = part[0].astype(np.float16)

    def jobs() -> Iterator[tuple[int, PhotoRecord, bytes, int]]:
        row = 0
        for record, encoded in read_packs(packs, exclude_sources):
            for view in range(views.number(record)):
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
    total = plan["shapes"][0][0]
    if plan["done"] != total:
        raise DatasetError(f"the feature store {folder} has {plan['done']} of {total} rows; run its stage again")
    records = tuple(record for record, _ in read_packs(packs, exclude_sources))
    counts = [Views(**plan["views"]).number(record) for record in records]
    photos = np.repeat(np.arange(len(records)), counts)
    views = np.concatenate([np.arange(count) for count in counts])
    maps, regions, logits = (_map(folder, part, shape) for part, shape in zip(PARTS, plan["shapes"], strict=True))
    return FeatureStore(records, photos, views, maps, regions, logits, plan["block"])


def _map(folder: Path, part: str, shape: Sequence[int], *, for_writing: bool = False) -> NDArray[np.float16]:
    file = folder / f"{part}.f16"
    mode: Literal["r", "r+", "w+"] = "r" if not for_writing else "r+" if file.is_file() else "w+"
    return np.memmap(file, dtype=np.float16, mode=mode, shape=tuple(shape))
