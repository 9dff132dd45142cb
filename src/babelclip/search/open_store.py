"""A URL becomes a database; only the chosen store is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from babelclip.errors import ConfigError

if TYPE_CHECKING:
    from babelclip.search.store import Database

KNOWN = "sqlite:FOLDER/FILE.db, qdrant:FOLDER or qdrant:http://HOST:6333/NAME, lance:FOLDER, postgresql://HOST/DATABASE"


def open_database(url: str, *, create: bool = False) -> Database:
    """The database of a URL.

    create: make it where it is not there.

    Raises:
        ConfigError: the URL is of no store that is known.
        RuntimeUnavailable: the store needs a package that is not installed; the message says which.
        StoreError: there is none, or it cannot be used.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or not rest:
        raise ConfigError(f"{url!r} is no address of an index; known are {KNOWN}")
    if scheme == "sqlite":
        from babelclip.search.stores.sqlite import SqliteDatabase

        return SqliteDatabase(Path(rest).expanduser(), create=create)
    raise ConfigError(f"no store is called {scheme!r}; known are {KNOWN}")
