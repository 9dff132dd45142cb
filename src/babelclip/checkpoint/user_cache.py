"""The user's cache folder: what can be made again and does not belong into a model folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """``$BABELCLIP_CACHE``, else the system's place for caches. The folder may not exist yet."""
    chosen = os.environ.get("BABELCLIP_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "babelclip"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "babelclip" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "babelclip"
