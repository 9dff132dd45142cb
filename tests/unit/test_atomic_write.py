"""Whole or not at all: an old file outlives every way in which the writing of a new one can end."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from babelclip.atomic_write import UNFINISHED, atomic_folder, atomic_path, write_bytes, write_json, write_text

NEEDS_POSIX = pytest.mark.skipif(os.name == "nt", reason="modes, links and limits as POSIX has them")
NEEDS_A_USER = pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write everything"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that already stands."""
    file = tmp_path / "result.json"
    file.write_text("old", encoding="utf-8")
    return file


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("write", "content"),
    [
        (lambda path: write_bytes(path, b"\x00\r\n\xff"), b"\x00\r\n\xff"),
        (lambda path: write_bytes(path, b"a picture", durable=False), b"a picture"),
        (lambda path: write_text(path, "黎明\n"), "黎明\n".encode()),
        (lambda path: write_json(path, {"b": "é", "a": [1]}), '{\n  "b": "é",\n  "a": [\n    1\n  ]\n}\n'.encode()),
        (lambda path: write_json(path, {"a": 1}, indent=None), b'{"a": 1}\n'),
    ],
)  # fmt: skip
def test_what_is_written_is_there(old: Path, write: Callable[[Path], None], content: bytes) -> None:
    for file in (old, old.with_name("new.json")):
        write(file)
        assert file.read_bytes() == content
    assert sorted(path.name for path in old.parent.iterdir()) == ["new.json", "result.json"]


def test_a_library_may_write_by_itself(tmp_path: Path) -> None:
    """numpy adds a suffix to a name that has none of its own."""
    file = tmp_path / "vectors.npy"
    with atomic_path(file) as unfinished:
        np.save(unfinished, np.arange(3))
        assert not file.exists()
    assert np.load(file).tolist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_the_old_file_outlives_an_error(old: Path, fault: type[BaseException]) -> None:
    def write() -> None:
        with atomic_path(old) as unfinished:
            unfinished.write_text("half", encoding="utf-8")
            raise fault

    with pytest.raises(fault):
        write()
    assert old.read_text(encoding="utf-8") == "old"
    assert list(old.parent.iterdir()) == [old]


def test_content_that_json_has_no_form_for_changes_nothing(old: Path) -> None:
    with pytest.raises(TypeError):
        write_json(old, {"first": 1, "second": object()})
    assert old.read_text(encoding="utf-8") == "old"


KILLED = """
import os, sys
from babelclip.atomic_write import atomic_path
with atomic_path(sys.argv[1]) as unfinished, unfinished.open("w") as stream:
    stream.write("half")
    stream.flush()
    os._exit(9)
"""


def test_the_old_file_outlives_a_kill(old: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, old], check=False).returncode == 9
    assert old.read_text(encoding="utf-8") == "old"
    (left,) = (path for path in old.parent.iterdir() if path != old)
    assert left.name.startswith(UNFINISHED)
    assert left.name.endswith("-result.json")


FULL = """
import resource, sys
from babelclip.atomic_write import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(sys.argv[1], bytes(5000))
except OSError as error:
    print(error.strerror)
"""


@NEEDS_POSIX
def test_the_old_file_outlives_a_full_disk(old: Path) -> None:
    result = subprocess.run([sys.executable, "-c", FULL, old], check=True, capture_output=True, text=True)
    assert result.stdout == "File too large\n"
    assert old.read_text(encoding="utf-8") == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        write_text(tmp_path / "missing" / "file.txt", "new")


def test_a_folder_in_the_way_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_path(tmp_path):
        pytest.fail("the work has begun")


@NEEDS_A_USER
def test_a_protected_file_stays(old: Path) -> None:
    old.chmod(0o444)
    with pytest.raises(PermissionError, match=r"result\.json"):
        write_text(old, "new")
    assert old.read_text(encoding="utf-8") == "old"


@NEEDS_A_USER
def test_a_protected_folder_is_told(old: Path) -> None:
    old.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            write_text(old, "new")
    finally:
        old.parent.chmod(0o755)
    assert old.read_text(encoding="utf-8") == "old"


@NEEDS_POSIX
def test_modes_are_those_of_ordinary_files(old: Path) -> None:
    new = old.with_name("new")
    with umask(0o027):
        write_text(new, "new")
    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    old.chmod(0o600)
    write_text(old, "new")
    assert stat.S_IMODE(old.stat().st_mode) == 0o600, "what only its owner may read stays so"


@NEEDS_POSIX
def test_a_link_stays_a_link(old: Path) -> None:
    link = old.with_name("link")
    link.symlink_to(old.name)
    write_text(link, "new")
    assert link.is_symlink()
    assert old.read_text(encoding="utf-8") == "new"


@NEEDS_POSIX
def test_devices_are_written_to(tmp_path: Path) -> None:
    write_text("/dev/null", "gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    script = "from babelclip.atomic_write import write_text; write_text('/dev/stdout', 'through a pipe')"
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert result.stdout == "through a pipe"


def test_a_long_name_has_room(tmp_path: Path) -> None:
    file = tmp_path / ("梦" * 80 + ".json")
    write_text(file, "new")
    assert file.read_text(encoding="utf-8") == "new"


# ---------------------------------------------------------------- folders


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()
    return folder


def test_a_folder_takes_its_place_whole(old_folder: Path) -> None:
    for folder in (old_folder, old_folder.with_name("other")):
        with atomic_folder(folder) as unfinished:
            (unfinished / "inside").mkdir()
            (unfinished / "inside" / "file").write_text("new", encoding="utf-8")
        assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == ["inside", "inside/file"]
    assert sorted(path.name for path in old_folder.parent.iterdir()) == ["model", "other"]


def test_the_old_folder_outlives_an_error(old_folder: Path) -> None:
    def write() -> None:
        with atomic_folder(old_folder) as unfinished:
            (unfinished / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [path.name for path in old_folder.iterdir()] == ["old"]
    assert list(old_folder.parent.iterdir()) == [old_folder]


@NEEDS_POSIX
def test_a_folders_mode_is_that_of_any_new_one(tmp_path: Path) -> None:
    with umask(0o027), atomic_folder(tmp_path / "new"):
        pass
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750
