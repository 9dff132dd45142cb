"""Where indexes and thumbnails lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

from babelclip.user_folders import user_cache, user_data

INDEX_VARIABLE = "BABELCLIP_INDEX"


def default_url() -> str:
    """The index of commands that name none: ``$BABELCLIP_INDEX``, else one in the user's data folder."""
    return index_url(os.environ.get(INDEX_VARIABLE) or f"sqlite:{user_data() / 'index.db'}")


def index_url(given: str | None) -> str:
    """A URL as it is; a plain path is a SQLite file's; the default where none is given."""
    if given is None:
        return default_url()
    return given if re.match(r"[a-z][a-z0-9+]+:", given) else f"sqlite:{Path(given).expanduser().absolute()}"


def thumbnails() -> Path:
    """The folder of the page's small pictures; they can be made again."""
    return user_cache() / "thumbnails"
