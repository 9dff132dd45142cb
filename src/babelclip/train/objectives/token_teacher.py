"""A frozen text model that a student is told the tokens' states of: a model folder, or code beside the recipe.

``teacher = "org/name"``, or a folder: a model that ``babelclip`` reads. ``teacher = "file.py:function"``: a Python file
beside the recipe, whose function returns a ``TokenTeacher``; it is run, so take recipes only from people you trust.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.fetch import open_folder
from babelclip.errors import ConfigError
from babelclip.prepare.text import TextPreparer


@dataclass(frozen=True, slots=True)
class TokenStates:
    """What a teacher makes of some texts."""

    token_ids: list[list[int]]  # with <s> and </s>, without padding
    states: Tensor  # (B, T, L, D) float32: of each token after each of the teacher's layers
    mask: Tensor  # (B, T) bool, False where it is padding


class TokenTeacher(Protocol):
    """A frozen text model."""

    tokenizer: Tokenizer
    num_layers: int

    def __call__(self, texts: Sequence[str], max_tokens: int) -> TokenStates:
        """States of the tokens of texts, each cut to ``max_tokens``."""
        ...


class FolderTeacher:
    """The text tower of a model folder as a ``TokenTeacher``."""

    def __init__(self, source: str) -> None:
        folder = open_folder(source)
        self._tower = load_towers(folder).text.eval().requires_grad_(False)
        self._preparer = TextPreparer(folder.tokenizer_file, folder.text_prepare)
        self.tokenizer = Tokenizer.from_file(str(folder.tokenizer_file))
        self.num_layers = len(self._tower.blocks)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], max_tokens: int) -> TokenStates:
        """States of the tokens of texts, each cut to ``max_tokens``."""
        rows = self._preparer.tokenize(texts, max_tokens=max_tokens).token_ids
        token_ids = torch.from_numpy(self._preparer.batch(rows).token_ids)
        states = torch.stack(list(self._tower.block_outputs(token_ids)), dim=2)
        return TokenStates(rows, states, token_ids != self._preparer.config.pad_id)


def open_teacher(name: str, recipe_folder: Path) -> TokenTeacher:
    """The teacher that a recipe names.

    Raises:
        ConfigError: No such file, or no such function in it.
        FolderError: No such model folder.
    """
    file, colon, function = name.rpartition(":")
    if not (colon and file.endswith(".py")):
        local = recipe_folder / name
        return FolderTeacher(str(local) if local.is_dir() else name)
    path = recipe_folder / file
    if not path.is_file():
        raise ConfigError(f"teacher = {name!r}: there is no file {path}")
    module = _run(path)
    if not hasattr(module, function):
        raise ConfigError(f"teacher = {name!r}: {path} has no {function!r}")
    return cast(TokenTeacher, getattr(module, function)())


def _run(path: Path) -> ModuleType:
    """The module of a file, which may import what lies beside it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def vocabulary_pieces(tokenizer: Tokenizer) -> list[str]:
    """The pieces of a tokenizer by token id."""
    return [tokenizer.id_to_token(token_id) or "" for token_id in range(tokenizer.get_vocab_size())]
