"""Outputs of frozen parts, one cache for all: computed once for every item that comes again.

A part that no gradient reaches gives the same output for the same item in every step: the lower part of an image tower
for a view of an image, a whole tower for a text. Kept in memory, the latest first, or on disk, where a run that is
resumed finds them again. Whoever computes gives each part a name of its own (``fingerprint_of``), so that outputs of
other weights are never taken for these.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from babelclip.atomic_write import atomic_path, write_json
from babelclip.decode import parse_json
from babelclip.errors import ConfigError

GIB = 2**30
PART_BYTES = 64 * 2**20  # of outputs that are written to disk at a time
_Compute = Callable[[Sequence[int]], Tensor]
"""Positions of items -> their outputs, (len, ...)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSettings:
    """How much of frozen parts' outputs is kept, for each part."""

    memory_gb: float = 1.0
    disk_gb: float = 0.0  # above 0: in the run's folder instead, found again when the run is resumed

    def __post_init__(self) -> None:
        if self.memory_gb < 0 or self.disk_gb < 0:
            raise ConfigError(f"a cache cannot be smaller than nothing: {self}")


class FrozenOutputs:
    """What one frozen part gave.

    Args:
        settings: How much is kept.
        folder: Of the run's caches.
        name: Of the part and its weights.
        rank: Of this process; every one writes files of its own, and reads all.
    """

    def __init__(self, settings: CacheSettings, folder: Path, name: str, rank: int = 0) -> None:
        self._limit = int(settings.memory_gb * GIB)
        self._held: OrderedDict[str, NDArray[np.generic]] = OrderedDict()
        self._held_bytes = 0
        self._disk = _Parts(folder / name, int(settings.disk_gb * GIB), rank) if settings.disk_gb else None

    def __contains__(self, key: str) -> bool:
        return key in self._held or (self._disk is not None and key in self._disk)

    def of(self, keys: Sequence[str], compute: _Compute, dtype: torch.dtype, at_once: int = 32) -> Tensor:
        """Outputs of items by key: those that are not kept are computed, some at a time.

        Args:
            keys: Of the items; equal keys are one item.
            compute: Called with the positions of items in ``keys``.
            dtype: Of what is kept, and returned: also where nothing is kept, so that both ways give the same.
            at_once: Items that are computed together.
        """
        new = list({key: index for index, key in enumerate(keys) if key not in self}.values())
        fresh: dict[str, NDArray[np.generic]] = {}
        for start in range(0, len(new), at_once):
            some = new[start : start + at_once]
            with torch.no_grad():
                outputs = compute(some).to("cpu", dtype).numpy()
            fresh |= {keys[index]: output.copy() for index, output in zip(some, outputs, strict=True)}
        found = np.stack([fresh[key] if key in fresh else self._kept(key) for key in keys])
        for key, output in fresh.items():
            self._keep(key, output)
        self._make_room()
        return torch.from_numpy(found)

    def flush(self) -> None:
        """Write what waits to be written."""
        if self._disk is not None:
            self._disk.flush()

    def _kept(self, key: str) -> NDArray[np.generic]:
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        assert self._disk is not None, "the key was found"
        return self._disk.row(key)

    def _keep(self, key: str, output: NDArray[np.generic]) -> None:
        if self._disk is not None and self._disk.add(key, output):
            return
        self._held[key] = output
        self._held_bytes += output.nbytes

    def _make_room(self) -> None:
        while self._held_bytes > self._limit:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= oldest.nbytes


class _Parts:
    """Outputs on disk: ``<rank>-<n>.npy`` with rows, then ``.json`` with their keys, which makes the part count."""

    def __init__(self, folder: Path, limit: int, rank: int) -> None:
        self._folder, self._limit, self._rank = folder, limit, rank
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[str, tuple[Path, int]] = {}
        self._open: dict[Path, NDArray[np.generic]] = {}
        self._waiting: dict[str, NDArray[np.generic]] = {}
        self._waiting_bytes = self._bytes = 0
        for keys_file in sorted(folder.glob("[0-9]*.json")):  # not what a kill has left unfinished
            rows_file = keys_file.with_suffix(".npy")
            self._bytes += rows_file.stat().st_size
            for row, key in enumerate(parse_json(keys_file.read_text(encoding="utf-8"))):
                self._places[key] = rows_file, row
        self._number = len(list(folder.glob(f"{rank}-*.json")))

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self._waiting

    def row(self, key: str) -> NDArray[np.generic]:
        if key in self._waiting:
            return self._waiting[key]
        file, row = self._places[key]
        if file not in self._open:
            self._open[file] = np.load(file, mmap_mode="r")
        return np.asarray(self._open[file][row])

    def add(self, key: str, output: NDArray[np.generic]) -> bool:
        """False where there is no room."""
        if self._bytes + output.nbytes > self._limit:
            return False
        self._waiting[key] = output
        self._bytes += output.nbytes
        self._waiting_bytes += output.nbytes
        if self._waiting_bytes >= PART_BYTES:
            self.flush()
        return True

    def flush(self) -> None:
        if not self._waiting:
            return
        rows_file = self._folder / f"{self._rank}-{self._number:06d}.npy"
        with atomic_path(rows_file) as unfinished:
            np.save(unfinished, np.stack(list(self._waiting.values())))
        write_json(rows_file.with_suffix(".json"), list(self._waiting))
        self._places |= {key: (rows_file, row) for row, key in enumerate(self._waiting)}
        self._number += 1
        self._waiting, self._waiting_bytes = {}, 0


def fingerprint_of(parts: Iterable[nn.Module], *facts: object) -> str:
    """Digest of everything that a frozen part's output depends on: its weights, and facts such as the precision."""
    whole = blake2b(repr(facts).encode(), digest_size=12)
    for part in parts:
        for name, tensor in part.state_dict().items():
            whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            whole.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()
