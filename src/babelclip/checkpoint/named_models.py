"""Models that babelclip knows by a name of their own, and the folders in the user's cache where they are made.

A file of its own, because opening a model needs to know the place and nothing of how the model gets there.
"""

from __future__ import annotations

from pathlib import Path

from babelclip.errors import FolderError
from babelclip.user_folders import user_cache

NAMED_MODELS = {"base": "babelclip-base: the image tower of CLIP ViT-B/16 and the text tower of the bundled model"}
"""Name -> what it is. A folder of that name in the working directory comes first, as with models of the hub."""


def pulled_folder(name: str) -> Path:
    """Where the named model lies once it has been pulled. It may not exist yet."""
    return user_cache() / "models" / name


def find_pulled(name: str) -> Path:
    """The folder of a named model that has been pulled.

    Raises:
        FolderError: It has not.
    """
    folder = pulled_folder(name)
    if not (folder / "config.json").is_file():
        raise FolderError(
            f"the model {name} is not on this machine yet ({folder}): `babelclip model pull {name}` brings it"
        )
    return folder
