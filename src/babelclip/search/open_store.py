"""Which index is meant, and how its URL becomes a database; only the chosen store is imported."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from babelclip.errors import ConfigError
from babelclip.optional_dependency import needed_for
from babelclip.user_folders import former_variable, user_data

if TYPE_CHECKING:
    from babelclip.search.store import Database

FORMS = """\
  sqlite:FILE                       the default store, one file
  postgresql://USER@HOST/DATABASE   PostgreSQL with pgvector; its own schema, or ?schema=NAME
  qdrant:FOLDER                     Qdrant in one process
  qdrant:http://HOST:6333/NAME      a Qdrant server, its key in QDRANT_API_KEY
  lance:FOLDER                      LanceDB, also s3://..., many readers"""
_EXTRAS = {"postgresql": "postgres", "qdrant": "qdrant", "lance": "lance"}
"""Scheme -> its extra."""
INDEX_VARIABLE = "BABELCLIP_INDEX"


def default_url() -> str:
    """The index of commands that name none: ``$BABELCLIP_INDEX``, else one in the user's data folder.

    Raises:
        ConfigError: when only its former name is set, because another index would be taken in silence.
    """
    former = former_variable()
    if former is not None:
        raise ConfigError(former)
    return index_url(os.environ.get(INDEX_VARIABLE) or str(user_data() / "index.db"))


def index_url(given: str | None) -> str:
    """A URL as it is; a plain path is a SQLite file's; the default where none is given."""
    if given is None:
        return default_url()
    return given if re.match(r"[a-z][a-z0-9+]+:", given) else f"sqlite:{Path(given).expanduser().absolute()}"


def index_option(url: str) -> str:
    """What a command has to be told besides, so that it means the index of a URL; nothing for the default one."""
    try:
        return "" if url == default_url() else f" --index {shlex.quote(url)}"
    except ConfigError:
        return f" --index {shlex.quote(url)}"


def open_database(url: str, *, create: bool = False) -> Database:
    """The database of a URL.

    Args:
        create: make it where it is not there.

    Raises:
        ConfigError: the URL is of no store that is known.
        RuntimeUnavailable: the store needs a package that is not installed; the message says which.
        StoreError: there is none, or it cannot be used.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or not rest or scheme not in ("sqlite", *_EXTRAS):
        raise ConfigError(f"{url!r} is no address of an index; known are\n{FORMS}")
    if scheme == "sqlite":
        return _opened(scheme, rest, url, create)
    with needed_for(f"an index in {scheme}", _EXTRAS[scheme]):
        return _opened(scheme, rest, url, create)


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
