"""Model folder -> ONNX graphs, kept only where their vectors agree with torch.

``text.onnx``    token_ids int64 (batch, length), and adapters int64 (batch) where the model has any (-1: base weights)
                 -> vectors float32 (batch, E), raw
``image.onnx``   pixels float32 (batch, 3, S, S) -> vectors float32 (batch, E), raw

Adapters stay live in the graph, even where one is always on (the caller passes its index): that way the weights of the
folder serve as they are.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn

from babelclip.arrays import NO_ADAPTER, ImageBatch, TextBatch, Vectors
from babelclip.checkpoint.folder import ModelFolder
from babelclip.errors import ConfigError, FolderError, RuntimeUnavailable
from babelclip.runtime.check_vector import check_image_batch, check_text_batch, keep_check_vectors, read_check_vectors
from babelclip.runtime.exported import (
    Export,
    GraphFacts,
    Tower,
    graph_folders,
    graph_name,
    keep_graphs,
    read_graph_manifest,
    towers_of,
)
from babelclip.runtime.graph import point_to_weights, write_graph
from babelclip.runtime.onnx_runtime import OnnxRuntime
from babelclip.runtime.torch_runtime import TorchRuntime, open_torch
from babelclip.towers.dual import DualEncoder

MAX_DIFFERENCE = 1e-4
"""Largest difference to torch, relative to the largest value of the vector where that is over 1."""
MIN_COSINE = 0.99999

_OPSET = 20
_SEED = 20240917
_LONGEST = 300  # tokens in the comparison; the rotary table has to grow with the input


def export_model(
    folder: ModelFolder, towers: Sequence[Tower] | None = None, graph_folder: Path | None = None
) -> list[Export]:
    """Write the graphs of a folder, beside the weights or, where that cannot be written, into the user's cache.

    Args:
        folder: of the model.
        towers: which; None: all that the model has.
        graph_folder: another folder for them, where ``open_runtime`` does not look.

    Raises:
        ConfigError: a tower that the model does not have.
        RuntimeUnavailable: a graph does not agree with torch; nothing is kept then.
        FolderError: neither place can be written.
    """
    chosen = tuple(towers or towers_of(folder))
    for tower in chosen:
        if tower not in towers_of(folder):
            raise ConfigError(f"{folder.name} has no {tower} tower to export; it has {', '.join(towers_of(folder))}")
    reference = open_torch(folder, adapters="live")
    made: dict[Tower, tuple[bytes, GraphFacts]] = {}
    with tempfile.TemporaryDirectory(prefix="babelclip-export-") as work:
        for tower in chosen:
            path = Path(work) / graph_name(tower)
            _write_tower(folder, reference.towers, tower, path)
            difference, cosine = _agreement(folder, reference, Export(tower, path, "being checked"))
            content = path.read_bytes()
            made[tower] = (
                content,
                GraphFacts(
                    fingerprint=folder.fingerprint(),
                    sha256=hashlib.sha256(content).hexdigest(),
                    max_difference=difference,
                    min_cosine=cosine,
                    made_with=f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}",
                ),
            )
    words, kept_in = _keep(folder, graph_folder, made)
    kept = {facts.sha256 for facts in read_graph_manifest(kept_in).values()}
    vectors = {graph: vector for graph, vector in read_check_vectors(kept_in).items() if graph in kept}
    vectors |= {made[tower][1].sha256: _check_vector(folder, reference, tower) for tower in chosen}
    keep_check_vectors(kept_in, vectors)
    return [Export(tower, kept_in / graph_name(tower), words) for tower in chosen]


def _check_vector(folder: ModelFolder, reference: TorchRuntime, tower: Tower) -> Vectors:
    """What torch makes (E,) of the input that the graph is asked when it is first opened."""
    if tower == "text":
        return reference.run_text(check_text_batch())[0]
    assert folder.config.vision is not None
    return reference.run_images(check_image_batch(folder.config.vision.image_size))[0]


def _write_tower(folder: ModelFolder, towers: DualEncoder, tower: Tower, path: Path) -> None:
    if tower == "text":
        inputs = {"token_ids": torch.tensor([[0, 4, 5, 6, 2], [0, 4, 2, 1, 1]])}  # (2, 5)
        dynamic = {"token_ids": {0: "batch", 1: "length"}}
        if towers.config.text.adapters is not None:
            inputs["adapters"] = torch.tensor([0, NO_ADAPTER])
            dynamic["adapters"] = {0: "batch"}
        model = _trace(towers.text, inputs, dynamic)
        point_to_weights(model, dict(towers.text.named_parameters()), "text.", folder.tensor_index())
    else:
        assert towers.vision is not None
        size = towers.vision.config.image_size
        model = _trace(towers.vision, {"pixels": torch.zeros(2, 3, size, size)}, {"pixels": {0: "batch"}})
        point_to_weights(model, dict(towers.vision.named_parameters()), "vision.", folder.tensor_index())
    write_graph(model, path)


def _trace(tower: nn.Module, inputs: Mapping[str, Tensor], dynamic: Mapping[str, Mapping[int, str]]) -> ir.Model:
    """The tower's graph with its weights as initializers named as in the tower; not optimized.

    Args:
        tower: to trace.
        inputs: name -> example.
        dynamic: name -> axis -> name of the size that may vary.
    """
    sizes = {size: torch.export.Dim(size) for axes in dynamic.values() for size in axes.values()}
    shapes = {name: {axis: sizes[size] for axis, size in axes.items()} for name, axes in dynamic.items()}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports that torchvision is absent, which nothing here needs
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                tower,
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=["vectors"],
                dynamic_shapes=shapes,
                opset_version=_OPSET,
                optimize=False,  # it would rewrite the weights that have to stay recognizable
                external_data=False,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model


def _agreement(folder: ModelFolder, reference: TorchRuntime, export: Export) -> tuple[float, float]:
    """Largest difference and smallest cosine between the graph and torch, over batches of several shapes."""
    candidate = OnnxRuntime(folder, [export])
    differences, cosines = [], []
    if export.tower == "text":
        pairs = ((candidate.run_text(batch), reference.run_text(batch)) for batch in _text_batches(folder))
    else:
        pairs = ((candidate.run_images(batch), reference.run_images(batch)) for batch in _image_batches(folder))
    for found, expected in pairs:
        difference, cosine = _compare(found, expected)
        differences.append(difference)
        cosines.append(cosine)
    worst, lowest = max(differences), min(cosines)
    if not (worst <= MAX_DIFFERENCE and lowest >= MIN_COSINE):  # NaN fails too
        raise RuntimeUnavailable(
            f"the exported {export.tower} graph of {folder.name} does not agree with torch: difference {worst:.2g} "
            f"(at most {MAX_DIFFERENCE:g}), cosine {lowest:.7f} (at least {MIN_COSINE}). It was not kept. "
            "Use runtime='torch', and report this with the versions of torch and onnxruntime."
        )
    return worst, lowest


def _compare(found: Vectors, expected: Vectors) -> tuple[float, float]:
    scale = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = (found.astype(np.float64) * expected).sum(axis=1) / norms
    return float((np.abs(found - expected) / scale).max()), float(cosine.min())


def _text_batches(folder: ModelFolder) -> Iterator[TextBatch]:
    """Random ids in several shapes: one row of two tokens, odd paddings, every adapter and none in one batch, long."""
    random = np.random.default_rng(_SEED)
    config = folder.config.text
    num_adapters = 0 if config.adapters is None else len(config.adapters.tasks)
    longest = min(_LONGEST, folder.text_prepare.max_tokens)
    for rows, length in ((1, 2), (1, 3), (2, 17), (num_adapters + 2, 33), (5, 9), (1, longest)):
        ids = random.integers(0, config.vocab_size, (rows, length))
        ids[ids == config.pad_id] = 0
        if length == 9:  # pads on the left, in the middle and on the right
            ids[0, :3], ids[1, 4:6], ids[2, 7:], ids[3, 1:] = (config.pad_id,) * 4
        adapters = np.arange(rows) % (num_adapters + 1) + NO_ADAPTER
        yield TextBatch(ids, adapters)
        if num_adapters and rows == 1:
            yield TextBatch(ids, np.zeros(1, np.int64))


def _image_batches(folder: ModelFolder) -> Iterator[ImageBatch]:
    """Random pixels, normalized, alone and in batches."""
    random = np.random.default_rng(_SEED)
    assert folder.config.vision is not None
    size = folder.config.vision.image_size
    for rows in (1, 3):
        yield ImageBatch(random.standard_normal((rows, 3, size, size)).astype(np.float32))


def _keep(
    folder: ModelFolder, graph_folder: Path | None, made: dict[Tower, tuple[bytes, GraphFacts]]
) -> tuple[str, Path]:
    """Write to the first place that can be written; returns it in words and as a path."""
    reasons = []
    for words, candidate in (
        {str(graph_folder): graph_folder} if graph_folder is not None else graph_folders(folder)
    ).items():
        try:
            keep_graphs(candidate, made)
        except OSError as error:
            reasons.append(f"{candidate}: {error}")
            continue
        return words, candidate
    raise FolderError(
        f"the exported graphs could not be written ({'; '.join(reasons)}); set BABELCLIP_CACHE to a folder"
    )
