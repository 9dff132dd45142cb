"""The user's folders: what can be made again lies in the cache, what is theirs among the data.

A file of its own, because models, graphs, indexes and thumbnails share it, and tests point it elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """``$BABELCLIP_CACHE``, else the system's folder for caches. It may not exist yet."""
    chosen = os.environ.get("BABELCLIP_CACHE")
    return Path(chosen).expanduser() if chosen else _system_folder("Caches", "cache", "XDG_CACHE_HOME", ".cache")


def user_data() -> Path:
    """The system's folder for data of programs, in which the default index lies. It may not exist yet."""
    return _system_folder("Application Support", "data", "XDG_DATA_HOME", ".local/share")


def user_config() -> Path:
    """The system's folder for configuration of programs. It may not exist yet."""
    return _system_folder("Application Support", "config", "XDG_CONFIG_HOME", ".config")


def former_variable() -> str | None:
    """What to say where only ``BABELCLIP_DATA`` is set, which meant two folders; None where nothing is to be said."""
    folder = os.environ.get("BABELCLIP_DATA")
    if not folder or os.environ.get("BABELCLIP_INDEX") or os.environ.get("BABELCLIP_DATASETS"):
        return None
    return (
        "BABELCLIP_DATA is not read any more, because it meant two folders. Say which you mean: "
        f"BABELCLIP_INDEX={Path(folder) / 'index.db'} for the index, "
        f"BABELCLIP_DATASETS={folder} for data to train and evaluate on"
    )


def _system_folder(mac: str, windows: str, variable: str, otherwise: str) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac / "babelclip"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "babelclip" / windows
    return Path(os.environ.get(variable) or Path.home() / otherwise) / "babelclip"
