"""The user's folders: what can be made again lies in the cache, what is theirs among the data."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """``$BABELCLIP_CACHE``, else the system's place for caches. The folder may not exist yet."""
    return _chosen("BABELCLIP_CACHE") or _place("Caches", "cache", "XDG_CACHE_HOME", ".cache")


def user_data() -> Path:
    """``$BABELCLIP_DATA``, else the system's place for data of programs: the default index. May not exist yet."""
    return _chosen("BABELCLIP_DATA") or _place("Application Support", "data", "XDG_DATA_HOME", ".local/share")


def _chosen(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def _place(mac: str, windows: str, variable: str, otherwise: str) -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / mac / "babelclip"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "babelclip" / windows
    return Path(os.environ.get(variable) or Path.home() / otherwise) / "babelclip"
