"""The small model that ships inside the package."""

from __future__ import annotations

from pathlib import Path

from babelclip.errors import FolderError


def bundled_folder() -> Path:
    """The folder of the bundled model.

    Raises:
        FolderError: this installation was built without it.
    """
    folder = Path(__file__).parent / "small"
    if not (folder / "config.json").is_file():
        raise FolderError(
            f"this installation of babelclip has no bundled model ({folder} is absent): install the package from its "
            "wheel, or name a model folder"
        )
    return folder
