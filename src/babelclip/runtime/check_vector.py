"""One vector of each exported tower, kept beside its graph and computed again when a machine first opens the graph.

Kernels differ between processors, and some saturate where others do not: a machine that computes another vector would
answer with it in silence. The input is a handful of fixed tokens, or a pattern of pixels. That it was the same is
remembered in the user's cache, for these files, this runtime's version and this processor with what it can do.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from babelclip.arrays import NO_ADAPTER, ImageBatch, TextBatch, Vectors
from babelclip.atomic_write import write_bytes, write_json
from babelclip.checkpoint.checksums import sha256 as sha256_of
from babelclip.decode import decode_as, parse_json
from babelclip.errors import FolderError, RuntimeUnavailable
from babelclip.user_folders import user_cache

CHECK_VECTORS = "check-onnx.json"
"""Beside ``onnx.json``; no part of the model's fingerprint, nor of its checksums."""
MIN_CHECK_COSINE = 0.9999
"""Between the stored vector and this machine's. Processors of one number type differ by less than 1e-6."""
MIN_CHECK_COSINE_HALF = 0.98
"""The same where the machine computes in bfloat16, which keeps three digits."""


def check_text_batch() -> TextBatch:
    """Ids that every vocabulary has."""
    return TextBatch(np.array([[0, 5, 9, 17, 6, 33, 2]], np.int64), np.full(1, NO_ADAPTER, np.int64))


def check_image_batch(size: int) -> ImageBatch:
    """Waves over a picture (1, 3, S, S)."""
    rows, columns = np.mgrid[:size, :size] / size
    waves = [np.sin(7 * rows + turn) * np.cos(5 * columns - turn) for turn in (0.0, 1.0, 2.0)]
    return ImageBatch(np.stack(waves)[None].astype(np.float32))


def read_check_vectors(graph_folder: Path) -> Mapping[str, Vectors]:
    """The vectors (E,) by graph's checksum; none where an earlier babelclip exported.

    Raises:
        FolderError: the file is broken.
    """
    file = graph_folder / CHECK_VECTORS
    if not file.is_file():
        return {}
    try:
        vectors = decode_as(dict[str, tuple[float, ...]], parse_json(file.read_text()), file.name)
        with np.errstate(over="ignore"):  # infinity is no vector, as comparing it says
            return {graph: np.array(vector).astype(np.float32) for graph, vector in vectors.items()}
    except ValueError as error:
        raise FolderError(f"{file} does not hold the vectors of the graphs beside it ({error}): export anew") from error


def check_vector_of(graph: Path) -> Vectors | None:
    """The vector (E,) that a graph must give; None where none is stored.

    Raises:
        FolderError: as ``read_check_vectors``.
    """
    stored = read_check_vectors(graph.parent)
    return stored.get(sha256_of(graph)) if stored else None


def keep_check_vectors(graph_folder: Path, vectors: Mapping[str, Vectors]) -> None:
    """Write vectors (E,) by their graph's checksum."""
    write_json(graph_folder / CHECK_VECTORS, {graph: [round(float(x), 5) for x in v] for graph, v in vectors.items()})


def compare_check_vector(what: str, found: Vectors, expected: Vectors, least: float = MIN_CHECK_COSINE) -> None:
    """Look whether this machine computes what the exporting one did.

    Args:
        what: the graph, or the tower and its runtime, for the message.
        found: this machine's vector (E,).
        expected: the stored one (E,).
        least: cosine between the two.

    Raises:
        RuntimeUnavailable: it does not.
    """
    norms = float(np.linalg.norm(found)) * float(np.linalg.norm(expected))
    same_size = found.shape == expected.shape and norms > 0
    cosine = float(found.astype(np.float64) @ expected) / norms if same_size else float("nan")
    if not cosine >= least:
        raise RuntimeUnavailable(
            f"this machine computes another vector with {what}: expected a cosine of at least {least} "
            f"with the one that was exported, found {cosine:.5f}. Export the model here (babelclip model export), use "
            "another runtime, device or dtype, or take weights of another precision."
        )


class Remembered:
    """Whether one graph gave its stored vector here before.

    Args:
        expected: The stored vector (E,).
        files: The graph, and the weights that it reads.
        runtime: Name and version of what computes.
    """

    def __init__(self, expected: Vectors, files: Sequence[Path], runtime: str) -> None:
        processor, facts = _processor(), [runtime]
        for file in files:
            status = file.stat()
            facts.append(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}")
        key = sha256("\n".join([*facts, processor or ""]).encode(errors="surrogatepass") + expected.tobytes())
        self._mark = user_cache() / "same-vectors" / key.hexdigest() if processor else None

    def is_same(self) -> bool:
        """False as well where nothing can be remembered."""
        return self._mark is not None and self._mark.is_file()

    def keep(self) -> None:
        """Remember it; a cache that cannot be written to costs a comparison in each process, and nothing else."""
        if self._mark is not None:
            with contextlib.suppress(OSError):
                self._mark.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(self._mark, b"", durable=False)


def _processor() -> str | None:
    """What decides on kernels: the processor's name and instructions; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return None
    told = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return platform.machine() + "\n".join(sorted(told)) if told else None
