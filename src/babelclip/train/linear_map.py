"""A linear map of vectors, kept in a file: where a teacher's vectors are compared, or what a projection becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from babelclip.arrays import BROKEN_ARRAYS
from babelclip.atomic_write import atomic_path
from babelclip.errors import DatasetError


@dataclass(frozen=True, slots=True)
class LinearMap:
    """Vector v -> (v - mean) @ matrix, normalized; an ``.npz`` file with ``mean`` (D,) and ``matrix`` (D, E)."""

    mean: Tensor
    matrix: Tensor | None  # None: none, and no mean either

    @classmethod
    def identity(cls) -> LinearMap:
        """Vectors as they are, normalized."""
        return cls(torch.zeros(()), None)

    @classmethod
    def read(cls, path: Path) -> LinearMap:
        """Open a file.

        Raises:
            DatasetError: There is none, or it holds no map.
        """
        if not path.is_file():
            raise DatasetError(f"there is no file {path} of a linear map")
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                return cls(torch.from_numpy(arrays["mean"]).float(), torch.from_numpy(arrays["matrix"]).float())
        except BROKEN_ARRAYS as error:
            raise DatasetError(f"{path} holds no linear map (mean and matrix): {error}") from error

    def write(self, path: Path) -> None:
        """Keep it in a file that ``read`` opens."""
        assert self.matrix is not None, "the identity needs no file"
        with atomic_path(path) as unfinished:
            np.savez(unfinished, mean=self.mean.numpy(), matrix=self.matrix.numpy())

    def __call__(self, vectors: Tensor) -> Tensor:
        """(N, D) any float type -> float32 (N, E), unit length."""
        if self.matrix is None:
            return F.normalize(vectors.float(), dim=-1)
        mean, matrix = self.mean.to(vectors.device), self.matrix.to(vectors.device)
        return F.normalize((vectors.float() - mean) @ matrix, dim=-1)
