"""What an SQLite file of an index holds: its tables, and the numbers in its header that say so.

A file of its own, because it is the format on disk, which changes more rarely than the code that reads it.
"""

from __future__ import annotations

APPLICATION = 0x62636C70  # "bclp", in the file's header
FILE_FORMAT = 3
"""Files of format 1 are read as they are: what has changed is what ``index_notes`` says of the model. Format 2 has
checksums, format 3 those of blocks of rows too. A file is of format 3, and closed to earlier versions, from the first
store or row on that this version writes in it."""

FILE_SCHEMA = """
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stores (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, dim INTEGER NOT NULL,
                     rotation BLOB NOT NULL, changes INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0);
"""
STORE_SCHEMA = """
CREATE TABLE rows_{n} (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, kind NOT NULL, metadata NOT NULL,
                       seal, path AS (json_extract(metadata, '$.path')) STORED,
                       taken AS (json_extract(metadata, '$.taken')) STORED);
CREATE INDEX kind_{n} ON rows_{n} (kind);
CREATE INDEX path_{n} ON rows_{n} (path);
CREATE INDEX taken_{n} ON rows_{n} (taken);
CREATE TABLE vectors_{n} (row INTEGER PRIMARY KEY, vector BLOB NOT NULL, seal);
CREATE TABLE codes_{n} (row INTEGER PRIMARY KEY, kind NOT NULL, code BLOB NOT NULL, seal);
CREATE TABLE cones_{n} (kind PRIMARY KEY, rows INTEGER NOT NULL, mean BLOB NOT NULL, step REAL NOT NULL, seal)
                       WITHOUT ROWID;
CREATE TABLE gone_{n} (place INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL);
"""
BLOCK_COLUMNS = ("kind", "metadata", "path", "taken")
"""What filters read."""
BLOCKS_SCHEMA = "CREATE TABLE blocks_{n} (block INTEGER PRIMARY KEY, kind, metadata, path, taken)"
