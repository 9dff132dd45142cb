"""A model folder out of two: the text tower of one of ours, and the teacher's image tower turned into its space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.base_model.teacher_tower import TeacherTower
from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.folder import NOTICE, ModelFolder, write_folder
from babelclip.checkpoint.weights import read_header, read_stored, read_tensor
from babelclip.errors import ConfigError, FolderError
from babelclip.towers.config import DualConfig

NAME = "babelclip-base"
TURN_FILE = "clip-turn.safetensors"
"""Beside a text tower that speaks of CLIP's space: the tensor ``turn`` (E, E), by which image vectors come into it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An orthogonal matrix (E, E), and the file that it was read from."""

    matrix: NDArray[Any]
    file: Path


def check_text_tower(text: ModelFolder, source: TeacherTower) -> None:
    """Make sure, before anything is fetched, that a text tower and the image tower can share a space.

    Raises:
        ConfigError: The text tower's vectors have another width; or its folder is of another layout.
    """
    if text.layout != "babelclip":
        raise ConfigError(f"{text.path} has the layout {text.layout}; a text tower in babelclip's own layout is needed")
    width = source.config.embed_dim
    if text.config.embed_dim != width:
        raise ConfigError(
            f"the text tower of {text.name} gives vectors of {text.config.embed_dim} numbers and the image tower of "
            f"{NAME} gives {width}, so they cannot share a space. Name the folder of a model of {width} numbers "
            "with --text-tower"
        )


def read_turn(text: ModelFolder, file: Path | None) -> Turn:
    """The turn that belongs to a text tower: from a file that is named, else from its folder.

    Raises:
        FolderError: There is no such file, or it holds something else.
        WeightsError: It is no safetensors file.
    """
    path = text.path / TURN_FILE if file is None else file
    if not path.is_file():
        raise FolderError(
            f"there is no file {path}. It says how image vectors are turned into the space of {text.name}; a text "
            f"tower that was trained for {NAME} has it, or --turn names it"
        )
    entries = read_header(path)
    if list(entries) != ["turn"] or entries["turn"].dtype not in ("F32", "F16", "F64"):
        raise FolderError(
            f"{path} should hold one tensor of floats named turn; it holds {', '.join(entries) or 'none'}"
        )
    return Turn(np.asarray(read_tensor(entries["turn"])), path)


def write_base(out: Path, text: ModelFolder, image: Mapping[str, NDArray[Any]], source: TeacherTower) -> ModelFolder:
    """Write the folder of both towers, without graphs.

    Args:
        out: The new folder; empty or absent.
        text: Whose text tower, tokenizer, context and widths it gets.
        image: The image tower's tensors by our names.
        source: What is known about the image tower.
    """
    stored = {
        name: read_stored(entry)
        for name, entry in text.tensor_index().items()
        if name.startswith("text.") or name == "logit_scale"
    }
    tensors: dict[str, Any] = {"logit_scale": np.array(source.logit_scale, np.float32)} | stored | dict(image)
    package = f"{source.package.name} {source.package.version}"
    return write_folder(
        out,
        name=NAME,
        config=DualConfig(text=text.config.text, vision=source.config, dims=text.config.dims),
        text_prepare=text.text_prepare,
        image_prepare=source.prepare,
        tensors=tensors,
        tokenizer_file=text.tokenizer_file,
        card=CardFacts(
            license="other",
            summary=(
                "Texts in many languages and images in one vector space: the image tower of CLIP ViT-B/16 and the "
                f"text tower of {text.name}. This folder was put together on the machine where it lies."
            ),
            parents=(
                f"image tower: the Python package {package} (sha256 {source.package.sha256}), read and never run; "
                f"{source.license}",
                f"text tower: {text.name}, fingerprint {text.fingerprint()}; its notice is repeated in NOTICE",
            ),
            data=(source.seen,),
            notice="The terms of both parts stand in NOTICE. Read it before commercial use.",
        ),
        notice=_notice(text, source, package),
    )


def _notice(text: ModelFolder, source: TeacherTower, package: str) -> str:
    own = text.path / NOTICE
    below = own.read_text(encoding="utf-8") if own.is_file() else f"{text.name} has no notice of its own.\n"
    return (
        f"{NAME}: what these weights were made from\n\n"
        f"The image tower\n---------------\nfrom: the Python package {package}, file {source.package.member}\n\n"
        f"{source.license}\n\n{source.seen}\n\n"
        f"The text tower\n--------------\nfrom: {text.name}, whose notice follows\n\n{below}"
    )
