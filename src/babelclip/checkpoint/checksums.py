"""SHA-256 of files, remembered for large ones.

``checksums.json`` in our own folders lists every other file of the folder but exported graphs (``DERIVED``).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.atomic_write import write_json
from babelclip.decode import decode, encode, parse_json
from babelclip.errors import FolderError
from babelclip.user_folders import user_cache

CHECKSUMS = "checksums.json"
DERIVED = (".onnx", "onnx.json")
"""Exported graphs may be made anew at any time; their digests and the model's fingerprint are in their own manifest."""
_WORTH_REMEMBERING = 1_000_000  # bytes


def sha256(file: Path) -> str:
    """Hex digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_sha256(file: Path) -> str:
    """As `sha256`; for large files the digest is kept in the user's cache, valid while size and time stay the same."""
    facts = file.stat()
    if facts.st_size < _WORTH_REMEMBERING:
        return sha256(file)
    store, key = user_cache() / "sha256.json", str(file.resolve())
    known = _read_store(store)
    stamp = [facts.st_size, facts.st_mtime_ns]
    if key in known and known[key][:2] == stamp:
        return str(known[key][2])
    digest = sha256(file)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        store.parent.mkdir(parents=True, exist_ok=True)
        write_json(store, {**_read_store(store), key: [*stamp, digest]})
    return digest


def _read_store(store: Path) -> dict[str, Any]:
    try:
        known = parse_json(store.read_text())
    except (OSError, ValueError):  # absent or broken: it is only a cache
        return {}
    return known if isinstance(known, dict) else {}


def fingerprint(files: Iterable[Path]) -> str:
    """One digest (hex, 32 characters) of several files, in order: of their names and contents; places do not matter."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0" + bytes.fromhex(remembered_sha256(file)))
    return whole.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Checksums:
    """Content of ``checksums.json``."""

    sha256: Mapping[str, str]  # name -> hex digest


def write_checksums(folder: Path) -> None:
    """Write checksums.json for all other files of a folder."""
    write_json(folder / CHECKSUMS, encode(_Checksums({name: sha256(folder / name) for name in _to_list(folder)})))


def wrong_checksums(folder: Path) -> list[str]:
    """One line for each file that is absent, has other bytes or is not listed; empty when all agree.

    Raises:
        FolderError: no readable checksums.json.
    """
    try:
        content = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
        listed = decode(_Checksums, content, CHECKSUMS).sha256
    except (OSError, ValueError) as error:
        raise FolderError(f"{folder / CHECKSUMS} is absent or unreadable: {error}") from error
    wrong = []
    for name, digest in listed.items():
        file = folder / name
        if not file.is_file():
            wrong.append(f"{name} is absent")
        elif (found := sha256(file)) != digest:
            wrong.append(f"{name} has sha256 {found}, listed is {digest}")
    return wrong + [f"{name} is not listed" for name in _to_list(folder) if name not in listed]


def _to_list(folder: Path) -> list[str]:
    """Names of the files that checksums.json lists; hidden ones, unfinished ones among them, are no part of a model."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != CHECKSUMS)
    return [name for name in names if not name.endswith(DERIVED) and not name.startswith(".")]
