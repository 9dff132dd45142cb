"""SHA-256 of files, remembered for large ones; writing that leaves either the old or the new, never a half.

``checksums.json`` in our own folders lists every other file of the folder but exported graphs (``DERIVED``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from babelclip.errors import FolderError
from babelclip.user_folders import user_cache

CHECKSUMS = "checksums.json"
DERIVED = (".onnx", "onnx.json")
"""Exported graphs may be made anew at any time; the fingerprint of the weights is in their own manifest."""
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
        known = json.loads(store.read_text())
    except (OSError, ValueError):  # absent or broken: it is only a cache
        return {}
    return known if isinstance(known, dict) else {}


def fingerprint(files: Iterable[Path]) -> str:
    """One digest (hex, 32 characters) of the contents of several files, in order; names and places do not matter."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(bytes.fromhex(remembered_sha256(file)))
    return whole.hexdigest()[:32]


def write_checksums(folder: Path) -> None:
    """Write checksums.json for all other files of a folder."""
    files = (file for file in folder.iterdir() if file.is_file() and file.name != CHECKSUMS)
    names = sorted(file.name for file in files if not file.name.endswith(DERIVED))
    write_json(folder / CHECKSUMS, {"sha256": {name: sha256(folder / name) for name in names}})


def wrong_checksums(folder: Path) -> list[str]:
    """One line for each file of checksums.json that is absent or has other bytes; empty when all agree.

    Raises:
        FolderError: no readable checksums.json.
    """
    try:
        listed = json.loads((folder / CHECKSUMS).read_text())["sha256"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{folder / CHECKSUMS} is absent or unreadable: {error}") from error
    wrong = []
    for name, digest in listed:
        file = folder / name
        if not file.is_file():
            wrong.append(f"{name} is absent")
        elif (found := sha256(file)) != digest:
            wrong.append(f"{name} has sha256 {found}, listed is {digest}")
    return wrong


# ---------------------------------------------------------------- all or nothing


def write_json(file: Path, content: Any) -> None:
    """Write a JSON file whole: into a neighbour first, then renamed over the old one."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=2, ensure_ascii=False)
            stream.write("\n")
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well and vanishes when it does not.

    With `overwrite`, an existing model folder is replaced; what is in the way and is no model folder never is.

    Raises:
        FolderError: `path` exists and may not be replaced.
    """
    path = path.absolute()
    if path.exists() or path.is_symlink():
        if not path.is_dir() or (any(path.iterdir()) and not (path / "config.json").is_file()):
            raise FolderError(f"{path} exists and is no model folder; choose another place")
        if any(path.iterdir()) and not overwrite:
            raise FolderError(f"{path} exists; say overwrite=True to replace it, or choose another place")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.writing-"))
    temporary.chmod(0o755)  # mkdtemp makes folders that only their owner can enter
    try:
        yield temporary
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Put `new` at `path`; the old folder is moved aside first, and back if the second step fails."""
    if not path.exists():
        new.rename(path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old-"))
    path.rename(aside / "old")
    try:
        new.rename(path)
    except OSError:
        (aside / "old").rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
