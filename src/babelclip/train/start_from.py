"""Going on from a finished model: its text tower, its vocabulary and, as near as it can be found again, its space.

A model folder does not carry the space that its text tower was trained into, so the space is fitted anew and turned by
the rotation that brings it closest to the tower's own vectors (orthogonal Procrustes, Schoenemann 1966). A rotation
keeps the space's geometry; what the tower did not learn stays something to learn.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import ModelFolder
from babelclip.errors import ConfigError
from babelclip.towers.text import TextTower
from babelclip.train.target_space import TargetSpace
from babelclip.train.text_vectors import text_vectors


def take_text_tower(model: ModelFolder, tower: TextTower, out: Path) -> Tokenizer:
    """Load the text tower's weights and copy its tokenizer to ``out``.

    Raises: ConfigError when the folder's text tower is not the recipe's.
    """
    if model.config.text != tower.config:
        raise ConfigError(
            f"the recipe's text tower is not that of {model.path}: expected {tower.config}, found {model.config.text}"
        )
    tower.load_state_dict(load_towers(model).text.state_dict(), strict=True)
    shutil.copyfile(model.tokenizer_file, out / "tokenizer.json")
    return Tokenizer.from_file(str(model.tokenizer_file))


def turn_space(
    space: TargetSpace, teacher_vectors: Tensor, texts: Sequence[str], tower: TextTower, tokenizer: Tokenizer
) -> TargetSpace:
    """The space, rotated to where the tower puts the texts. teacher_vectors: (N, E) of the same texts."""
    rotation = procrustes(space(teacher_vectors), text_vectors(tower, tokenizer, texts))
    return TargetSpace(space.mean, space.matrix @ rotation)


def procrustes(vectors: Tensor, targets: Tensor) -> Tensor:
    """The orthogonal (E, E) matrix R for which ``vectors @ R`` is closest to the targets; both (N, E)."""
    left, _, right = torch.linalg.svd(F.normalize(vectors, dim=1).double().T @ F.normalize(targets, dim=1).double())
    return (left @ right).float()
