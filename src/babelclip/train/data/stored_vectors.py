"""What a teacher says of items, computed once and kept in a file: vectors, or a classifier's logits.

An ``.npz`` file with ``ids`` (N,) and ``vectors`` (N, D) of any float type. An id is whatever the data name: a text, an
image's name, a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from babelclip.arrays import BROKEN_ARRAYS
from babelclip.atomic_write import atomic_path
from babelclip.errors import DatasetError


class StoredVectors:
    """Vectors by id.

    Args:
        name: What to call them in a message: the file.
        ids: (N,).
        vectors: (N, D), any float type.
    """

    def __init__(self, name: str, ids: Sequence[str], vectors: NDArray[np.floating]) -> None:
        self.name, self._vectors = name, vectors
        self._rows = {one: row for row, one in enumerate(ids)}

    @classmethod
    def read(cls, path: Path) -> StoredVectors:
        """Open a file.

        Raises:
            DatasetError: There is none, or it does not hold what the module's docstring says.
        """
        if not path.is_file():
            raise DatasetError(f"there is no file {path} of stored vectors")
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                ids, vectors = arrays["ids"], arrays["vectors"]
        except BROKEN_ARRAYS as error:
            raise DatasetError(f"{path} holds no stored vectors (ids and vectors): {error}") from error
        if ids.dtype.kind != "U" or vectors.dtype.kind != "f":
            found = f"{ids.dtype} and {vectors.dtype}"
            raise DatasetError(f"{path}: expected ids that are texts and vectors of a float type, found {found}")
        if vectors.ndim != 2 or ids.ndim != 1 or len(ids) != len(vectors):
            raise DatasetError(f"{path}: expected ids (N,) and vectors (N, D), found {ids.shape} and {vectors.shape}")
        if len(set(ids.tolist())) != len(ids):
            raise DatasetError(f"{path}: an id stands there twice")
        return cls(str(path), ids.tolist(), vectors)

    @property
    def width(self) -> int:
        return int(self._vectors.shape[1])

    def __contains__(self, one: str) -> bool:
        return one in self._rows

    def require(self, ids: Iterable[str], wanted_by: str) -> None:
        """Make sure that ids are there before anything is trained.

        Raises:
            DatasetError: Some are not; it says how many, and names one.
        """
        missing = [one for one in ids if one not in self._rows]
        if missing:
            raise DatasetError(
                f"{wanted_by} needs vectors of {len(missing):,} items that {self.name} has not, such as {missing[0]!r}"
            )

    def of(self, ids: Sequence[str]) -> Tensor:
        """Vectors of ids that are there: float32 (len(ids), D)."""
        rows = np.array([self._rows[one] for one in ids], dtype=np.int64)
        return torch.from_numpy(np.asarray(self._vectors[rows], dtype=np.float32))

    def means(self, ids: Sequence[Sequence[str]]) -> Tensor:
        """For each row of ids the mean of their vectors: float32 (len(ids), D)."""
        return torch.stack([self.of(row).mean(dim=0) for row in ids])


def write_stored_vectors(path: Path, ids: Sequence[str], vectors: NDArray[np.floating]) -> None:
    """Write a file that ``StoredVectors.read`` opens."""
    with atomic_path(path) as unfinished:
        np.savez_compressed(unfinished, ids=np.array(ids, dtype=np.str_), vectors=vectors)
