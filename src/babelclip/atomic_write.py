"""The one way to write a file or a folder of files: whole or not at all.

What is written goes into a sibling first, reaches the disk, and takes its name in one step. A reader, and whoever
comes after a crash, a full disk or a kill, finds the old content or the new, never a part. A sibling that a kill has
left behind begins with ``UNFINISHED`` and may be deleted. Errors surface as they are, and leave the old content.

Files that grow line by line (logs) and downloads that are resumed are not written this way; a house test names them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

UNFINISHED = ".writing-"
"""Start of the name of a file or folder that is not complete."""
_NAME_KEPT = 40  # characters of the final name; with four bytes each they fit into the 255 that file systems allow


@contextlib.contextmanager
def atomic_path(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """A sibling to write into, which takes the place of `path` when the block ends well and vanishes when it does not.

    For libraries that want a path, and for streams: ``with atomic_path(file) as unfinished, unfinished.open("w") as
    stream``. The sibling exists, is empty, and has the suffixes of `path`. A symbolic link stays, and what it points to
    is replaced; a pipe or a device is written to directly, because it holds nothing that could be kept. The mode is
    that of the file that is replaced, or of any new file.

    Args:
        durable: wait until the disk has it, some milliseconds, so that it outlives a loss of power too; a cache whose
            files are many and can be made again need not.

    Raises:
        OSError: no such folder, no permission, a full disk, a folder at `path`; nothing has changed.
    """
    mode = _mode_of(Path(path))
    if mode is not None and not stat.S_ISREG(mode):
        yield Path(path)
        return
    target = Path(os.path.realpath(path))
    unfinished = _sibling(target)
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise _of_target(error, path, target) from error
    try:
        if mode is not None:
            unfinished.chmod(stat.S_IMODE(mode))
        yield unfinished
        if durable:
            _sync_file(unfinished)
        os.replace(unfinished, target)
        if durable:
            _sync_folder(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """As `atomic_path`, for a folder: an empty sibling that takes the place of `path`, whatever lay there.

    No system swaps two folders in one step: an old one is moved aside first, and back where the second step fails.

    Raises:
        OSError: as for a file.
    """
    target = Path(os.path.realpath(path))
    unfinished = _sibling(target)
    try:
        unfinished.mkdir()
    except OSError as error:
        raise _of_target(error, path, target) from error
    try:
        yield unfinished
        for file in unfinished.rglob("*"):
            if file.is_file():
                _sync_file(file)
        _swap(unfinished, target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_bytes(path: str | Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file of bytes; `durable` as in `atomic_path`.

    Raises:
        OSError: as `atomic_path`.
    """
    with atomic_path(path, durable=durable) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    r"""Write a file of text: UTF-8, and ``\n`` ends a line on every system.

    Raises:
        OSError: as `atomic_path`.
    """
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, content: Any, *, indent: int | None = 2) -> None:
    """Write a file of JSON; `content` is encoded before anything is written.

    Raises:
        OSError: as `atomic_path`.
        TypeError: JSON has no form for a value.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def _mode_of(path: Path) -> int | None:
    """What lies at a path, as ``st_mode``; None where nothing does."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.W_OK):  # replacing a file needs no right to write it, and yet it says that it stays
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return mode


def _of_target(error: OSError, path: str | Path, target: Path) -> OSError:
    """An error about a sibling that could not be made, as one about what it stands for."""
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(error.errno, f"there is no folder {target.parent}", str(path))
    return OSError(error.errno, error.strerror, str(path))


def _sibling(target: Path) -> Path:
    return target.with_name(f"{UNFINISHED}{os.urandom(6).hex()}-{target.name[-_NAME_KEPT:]}")


def _swap(new: Path, target: Path) -> None:
    if not os.path.lexists(target):
        os.replace(new, target)
        return
    old = _sibling(target)
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync_file(file: Path) -> None:
    with file.open("r+b") as stream:  # Windows syncs only what is open for writing
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems sync no folders; the file itself is on the disk
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
