"""Where the small model lies that opens when no model is named: in this wheel, or in a distribution of its own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from babelclip.errors import FolderError

HOMES = ("babelclip.bundled", "babelclip_small")
"""Packages whose folder ``model`` may hold it, the one that counts first: a wheel's own weights are those that it was
measured with; ``babelclip_small`` holds them in a checkout, and where a packager has parted them from the code."""


def bundled_folder() -> Path:
    """The folder of the bundled model.

    Raises:
        FolderError: this installation has no weights, neither of its own nor beside it.
    """
    for home in HOMES:
        folder = _folder_of(home)
        if folder is not None and (folder / "config.json").is_file():
            return folder
    raise FolderError(
        "this installation of babelclip has no bundled model: expected it in the package babelclip itself or in the "
        "distribution babelclip-small, found neither. Install the weights with: pip install babelclip-small (in a "
        "checkout: pip install ./packages/babelclip-small), or name a model folder"
    )


def _folder_of(package: str) -> Path | None:
    try:
        folder = files(package) / "model"
    except ModuleNotFoundError:
        return None
    return folder if isinstance(folder, Path) else None  # weights are read in place, so not from inside a zip file
