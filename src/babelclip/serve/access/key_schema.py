"""The file of keys on disk: an SQLite database with one row a key, and how it is made, checked and opened.

Write-ahead log with synchronous=FULL: a change that was acknowledged is on the disk and outlives kill -9 and a loss of
power, and readers never wait for a writer. Beside FILE lie FILE-wal and FILE-shm while it is in use. They belong to it:
copy a file in use with ``sqlite3 FILE ".backup COPY"``, and never put another file in its place while a server has it
open. It must lie on a disk of this machine, because SQLite's log does not work over a network.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from babelclip.errors import BabelclipError

APPLICATION_ID = 0x62636B79  # "bcky", in the header of the file, so that no other database is taken for a key file
SCHEMA_VERSION = 1
MAX_BALANCE = 10**15  # of a balance: far from what a 64-bit integer holds, so that sums stay exact
BUSY_SECONDS = 10.0  # how long to wait for another program that writes; its writes take milliseconds

_SCHEMA = f"""
CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    digest BLOB NOT NULL UNIQUE CHECK (typeof(digest) = 'blob' AND length(digest) = 32),  -- SHA-256 of the secret
    label TEXT NOT NULL,
    created INTEGER NOT NULL,                                            -- seconds since 1970, as all times here
    revoked INTEGER,                                                     -- NULL: in force
    default_dim INTEGER CHECK (default_dim >= 1),                        -- NULL: the model's own
    requests_per_minute INTEGER CHECK (requests_per_minute >= 1),        -- NULL: no limit
    tokens_per_minute INTEGER CHECK (tokens_per_minute >= 1),            -- NULL: no limit
    concurrency INTEGER CHECK (concurrency >= 1),                        -- NULL: no limit
    balance INTEGER                                                      -- prepaid tokens; NULL: no limit
        CHECK (balance IS NULL OR (typeof(balance) = 'integer' AND balance BETWEEN 0 AND {MAX_BALANCE})),
    requests INTEGER NOT NULL DEFAULT 0,                                 -- charged ones
    text_tokens INTEGER NOT NULL DEFAULT 0,
    image_tokens INTEGER NOT NULL DEFAULT 0,
    last_used INTEGER
)
"""

_ADVICE = {
    "SQLITE_NOTADB": "is no key file; make one with: babelclip keys create",
    "SQLITE_BUSY": f"another program has been writing to it for {BUSY_SECONDS:.0f} s; end that program or try again",
    "SQLITE_READONLY": "cannot be written; its owner must run this, and its folder must be writable too",
    "SQLITE_CANTOPEN": "cannot be opened; its owner must run this, and its folder must be writable too",
    "SQLITE_PERM": "cannot be opened; its owner must run this",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CORRUPT": "is damaged; put a backup in its place",
}


class KeyFileError(BabelclipError):
    """A key file that is absent, damaged, open to others, of another kind or without the key that was asked for."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite says into what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])  # SQLITE_READONLY_DIRECTORY and the like
        raise KeyFileError(f"{path}: {_ADVICE.get(name, error)}") from error


def open_key_file(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, to be shared between threads under a lock of the caller's.

    Args:
        create: make the file when there is none, readable by its owner alone.

    Raises:
        KeyFileError: it cannot be opened, is no key file, or is open to others.
    """
    if create:
        _touch(path)
    _check_file(path)
    with explained(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",  # mode=rw: never makes a file
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _prepare(connection, path, create=create)
        except BaseException:
            connection.close()
            raise
    return connection


def _touch(path: Path) -> None:
    """An empty file for SQLite to fill, where there is none: made here because SQLite would let others read it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be made: {error.strerror}") from error


def _check_file(path: Path) -> None:
    """Refuse what is no file, and a file whose labels every user of the machine may read, or its balances write."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise KeyFileError(
            f"{path}: there is no such file; make a key file with: babelclip keys create LABEL --keys {path}"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise KeyFileError(f"{path}: is not a file")
    # The group is left to the administrator: a volume that containers share often needs it.
    if os.name == "posix" and mode & stat.S_IRWXO:
        raise KeyFileError(
            f"{path}: every user of this machine may read or write it (mode {stat.S_IMODE(mode):o}, expected 600); "
            f"run: chmod 600 {path}"
        )


def _prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    """Check what the file is, fill it when it is empty, and set what each connection must set anew."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: flush the drive's own cache too
    if create:
        connection.execute("BEGIN IMMEDIATE")  # of several that make the same file, one fills it
        if _number(connection, "PRAGMA schema_version") == 0 and _number(connection, "PRAGMA application_id") == 0:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise KeyFileError(f"{path}: is no key file; make one with: babelclip keys create")
    version = _number(connection, "PRAGMA user_version")
    if version != SCHEMA_VERSION:
        raise KeyFileError(
            f"{path}: is a key file of version {version}, this babelclip reads version {SCHEMA_VERSION}; "
            "use the babelclip that made it, or a newer one"
        )
    if _keep_log(connection) != "wal":
        raise KeyFileError(f"{path}: SQLite cannot keep a write-ahead log here; put it on a disk of this machine")


def _keep_log(connection: sqlite3.Connection) -> str:
    """Switch the file to a write-ahead log, if it is not; the journal that it has then.

    SQLite gives up at once, without its usual waiting, when several that make the same file come to this together.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchall()[0][0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(pragma).fetchall()[0][0])
