"""A URL becomes a database; only the chosen store is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from babelclip.errors import ConfigError, RuntimeUnavailable

if TYPE_CHECKING:
    from babelclip.search.store import Database

FORMS = """\
  sqlite:FILE                       the default store, one file
  postgresql://USER@HOST/DATABASE   PostgreSQL with pgvector; its own schema, or ?schema=NAME
  qdrant:FOLDER                     Qdrant in one process
  qdrant:http://HOST:6333/NAME      a Qdrant server, its key in QDRANT_API_KEY
  lance:FOLDER                      LanceDB, also s3://..., many readers"""
EXTRAS = {
    "postgresql": ("postgres", ("psycopg",)),
    "qdrant": ("qdrant", ("qdrant_client",)),
    "lance": ("lance", ("lancedb", "pyarrow")),
}
"""Scheme -> its extra, and the packages that it brings."""


def open_database(url: str, *, create: bool = False) -> Database:
    """The database of a URL.

    create: make it where it is not there.

    Raises:
        ConfigError: the URL is of no store that is known.
        RuntimeUnavailable: the store needs a package that is not installed; the message says which.
        StoreError: there is none, or it cannot be used.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or not rest or scheme not in ("sqlite", *EXTRAS):
        raise ConfigError(f"{url!r} is no address of an index; known are\n{FORMS}")
    try:
        return _opened(scheme, rest, url, create)
    except ModuleNotFoundError as error:
        extra, packages = EXTRAS.get(scheme, ("", ()))
        if (error.name or "").partition(".")[0] not in packages:
            raise
        raise RuntimeUnavailable(f"{scheme}: needs {error.name}: pip install 'babelclip[{extra}]'") from error


def _opened(scheme: str, rest: str, url: str, create: bool) -> Database:
    if scheme == "postgresql":
        from babelclip.search.stores.postgres import PostgresDatabase

        return PostgresDatabase(url, create=create)
    if scheme == "qdrant":
        from babelclip.search.stores.qdrant import QdrantDatabase

        return QdrantDatabase(rest if "://" in rest else _folder(rest), create=create)
    if scheme == "lance":
        from babelclip.search.stores.lance import LanceDatabase

        return LanceDatabase(rest if "://" in rest else _folder(rest), create=create)
    from babelclip.search.stores.sqlite import SqliteDatabase

    return SqliteDatabase(Path(rest).expanduser(), create=create)


def _folder(given: str) -> str:
    return str(Path(given).expanduser().absolute())
