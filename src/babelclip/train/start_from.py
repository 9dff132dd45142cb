"""Going on from a finished model: those of its towers that the recipe has too, and, as near as it can be found again,
its space.

A model folder does not carry the space that its towers were trained into, so the space is fitted anew and turned by the
rotation that brings it closest to where the model puts texts (orthogonal Procrustes, Schoenemann 1966). A rotation
keeps the space's geometry; what the towers did not learn stays something to learn.
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
from babelclip.towers.config import DualConfig
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.target_space import TargetSpace
from babelclip.train.text_vectors import text_vectors


def check_start(model: ModelFolder, config: DualConfig) -> None:
    """Raises: ConfigError when the folder has no text tower as wide as the recipe's, or neither tower of the recipe."""
    theirs = model.config
    if theirs.text.embed_dim != config.text.embed_dim:
        raise ConfigError(
            f"{model.path} gives vectors of {theirs.text.embed_dim} numbers, the recipe's space has "
            f"{config.text.embed_dim}; start from a model that fits, or from none"
        )
    if theirs.text != config.text and theirs.vision != config.vision:
        raise ConfigError(
            f"no tower of {model.path} is the recipe's. Expected {config.text} or {config.vision}, "
            f"found {theirs.text} and {theirs.vision}"
        )


def take_text_tower(model: ModelFolder, tower: TextTower, out: Path) -> Tokenizer | None:
    """Load the text tower's weights and copy its tokenizer to ``out``; None where the recipe's tower is another."""
    if model.config.text != tower.config:
        return None
    tower.load_state_dict(load_towers(model).text.state_dict(), strict=True)
    shutil.copyfile(model.tokenizer_file, out / "tokenizer.json")
    return Tokenizer.from_file(str(model.tokenizer_file))


def take_image_tower(model: ModelFolder, tower: VisionTower) -> bool:
    """Load the image tower's weights; False where the recipe's tower is another."""
    if model.config.vision != tower.config:
        return False
    vision = load_towers(model).vision
    assert vision is not None, "its configuration is the recipe's, which has one"
    tower.load_state_dict(vision.state_dict(), strict=True)
    return True


def turn_space(space: TargetSpace, teacher_vectors: Tensor, texts: Sequence[str], model: ModelFolder) -> TargetSpace:
    """The space, rotated to where the model puts the texts. teacher_vectors: (N, E) of the same texts."""
    tower, tokenizer = load_towers(model).text, Tokenizer.from_file(str(model.tokenizer_file))
    rotation = procrustes(space(teacher_vectors), text_vectors(tower, tokenizer, texts))
    return TargetSpace(space.mean, space.matrix @ rotation)


def procrustes(vectors: Tensor, targets: Tensor) -> Tensor:
    """The orthogonal (E, E) matrix R for which ``vectors @ R`` is closest to the targets; both (N, E)."""
    left, _, right = torch.linalg.svd(F.normalize(vectors, dim=1).double().T @ F.normalize(targets, dim=1).double())
    return (left @ right).float()
