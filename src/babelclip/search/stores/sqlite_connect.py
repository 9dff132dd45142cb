"""The connection to a file of SQLite, also to one that may only be read: on a drive, a share, of another user.

A file of its own, because in WAL mode reading writes beside the file, which is not possible everywhere.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from babelclip.errors import StoreError


def is_writable(path: Path) -> bool:
    """Whether a file, and what SQLite keeps beside it, may be written."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def connect(path: Path, *, read_only: bool, patience: float) -> sqlite3.Connection:
    """A connection that any thread may use, without transactions of its own accord.

    Args:
        path: of the file.
        read_only: nothing can be written here; what another computer writes meanwhile is then not seen.
        patience: seconds to wait for another writer.

    Raises:
        StoreError: a writer has left changes beside the file, and they can be neither used nor put in here.
        Error: of SQLite, as it says.
    """
    if not read_only:
        return sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    unfinished = path.with_name(path.name + "-wal")
    if unfinished.exists() and unfinished.stat().st_size:
        raise StoreError(
            f"{path} may only be read here, and changes wait beside it in {unfinished.name}: open it once where it can "
            "be written, for instance with babelclip search, or copy both files to such a place"
        )
    address = f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
