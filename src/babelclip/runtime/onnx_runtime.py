"""ONNX Runtime on the CPU: the default, without torch.

Graphs point into the model's safetensors files. The files are mapped here and handed to ONNX Runtime by name, so one
way serves every place: graphs beside the weights, graphs in the user's cache, and hub caches whose files are links.
(Left to itself ONNX Runtime refuses weights outside the graph's folder.)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from babelclip.arrays import NO_ADAPTER, ImageBatch, TextBatch, Vectors
from babelclip.checkpoint.folder import ModelFolder
from babelclip.errors import ConfigError, RuntimeUnavailable
from babelclip.runtime.check_vector import (
    Remembered,
    check_image_batch,
    check_text_batch,
    check_vector_of,
    compare_check_vector,
)
from babelclip.runtime.exported import Export, Tower

_SEVERITY_ERROR = 3
_Feed = Mapping[str, NDArray[np.int64] | NDArray[np.float32]]
"""Inputs of a graph by name."""


class OnnxRuntime:
    """Runs exported graphs in float32. Each tower is opened when it is first used; threads may share one runtime."""

    def __init__(self, folder: ModelFolder, exports: Sequence[Export], threads: int | None = None) -> None:
        """Open sessions on graphs.

        Args:
            folder: of the model.
            exports: current graphs of the folder's towers; towers that are left out cannot run.
            threads: for the arithmetic of one call; None: as many as this process has physical cores.
        """
        self._exports = tuple(exports)
        self._graphs: dict[Tower, Path] = {export.tower: export.graph for export in exports}
        self._weight_files = folder.weight_files
        self._image_size = None if folder.config.vision is None else folder.config.vision.image_size
        self._threads = threads or _usable_cores()
        self._towers: dict[Tower, _OpenTower] = {}
        self._opening = threading.Lock()

    def run_text(self, batch: TextBatch) -> Vectors:
        """(B, T) token ids -> (B, E)."""
        tower = self._open("text")
        feed: dict[str, NDArray[np.int64]] = {"token_ids": batch.token_ids}
        if "adapters" in tower.input_names:
            feed["adapters"] = batch.adapters
        elif (batch.adapters != NO_ADAPTER).any():
            raise ConfigError("the batch asks for adapters, and this model has none")
        return tower.run(feed)

    def run_images(self, batch: ImageBatch) -> Vectors:
        """(B, 3, S, S) pixels -> (B, E)."""
        return self._open("image").run({"pixels": batch.pixels})

    def free_memory(self) -> None:
        """Let go of what larger batches took. The library does so at the end of a run alone, so the smallest is run."""
        for name, tower in tuple(self._towers.items()):
            tower.run(self._check_feed(name, tower), frees_memory=True)

    def facts(self) -> dict[str, str | int]:
        """Runtime, device, dtype and threads as they really are."""
        return {
            "runtime": "onnx",
            "runtime_version": onnxruntime.__version__,
            "device": "cpu",
            "dtype": "float32",
            "threads": self._threads,
            "graphs": ", ".join(sorted({export.location for export in self._exports})),
        }

    def _open(self, name: Tower) -> _OpenTower:
        with self._opening:
            if name not in self._towers:
                if name not in self._graphs:
                    raise RuntimeUnavailable(f"no exported graph of the {name} tower at hand")
                opened = _OpenTower(self._graphs[name], self._weight_files, self._threads)
                self._check(name, opened)
                self._towers[name] = opened
            return self._towers[name]

    def _check(self, name: Tower, tower: _OpenTower) -> None:
        """Compare this machine's vector with the stored one, where there is one."""
        graph = self._graphs[name]
        expected = check_vector_of(graph)
        if expected is None:
            return
        files = graph, *self._weight_files
        remembered = Remembered(expected, files, f"onnxruntime {onnxruntime.__version__}")
        if remembered.is_same():
            return
        compare_check_vector(str(graph), tower.run(self._check_feed(name, tower))[0], expected)
        remembered.keep()

    def _check_feed(self, name: Tower, tower: _OpenTower) -> _Feed:
        """The smallest batch."""
        if name == "image":
            assert self._image_size is not None
            return {"pixels": check_image_batch(self._image_size).pixels}
        batch = check_text_batch()
        adapters = {"adapters": batch.adapters} if "adapters" in tower.input_names else {}
        return {"token_ids": batch.token_ids, **adapters}


class _OpenTower:
    """One session, and the maps of the weights that it reads from for as long as it lives."""

    def __init__(self, graph: Path, weight_files: Sequence[Path], threads: int) -> None:
        self._maps = [np.memmap(file, dtype=np.uint8, mode="r") for file in weight_files]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SEVERITY_ERROR
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # two towers have two pools of threads: those of the tower at rest must not burn the cores of the other
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # tables that are only looked up stay in the file; versions that do not know this option copy them
        options.add_session_config_entry("session.use_external_initializer_file_buffers_directly", "1")
        options.add_external_initializers_from_files_in_memory(
            [file.name for file in weight_files], self._maps, [len(mapped) for mapped in self._maps]
        )
        self._session = onnxruntime.InferenceSession(
            graph.read_bytes(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.input_names = frozenset(node.name for node in self._session.get_inputs())

    def run(self, feed: _Feed, *, frees_memory: bool = False) -> Vectors:
        options = onnxruntime.RunOptions()
        if frees_memory:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        vectors: Vectors = self._session.run(["vectors"], dict(feed), options)[0]
        return vectors


def _usable_cores() -> int:
    """Physical cores that this process may use; ``OMP_NUM_THREADS`` where it is set to a number."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    cores = set()
    for cpu in usable:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.is_file() else str(cpu))
    return len(cores)
