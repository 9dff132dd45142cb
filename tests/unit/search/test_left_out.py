"""What a walk leaves out: rules as git has them, checked against git; marked folders; what it passed over, by kind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from babelclip.search.left_out import IGNORE_FILE
from babelclip.search.walk import FoundFile, PassedOver, UnreadablePath, Wanted, walk

NAMES = (
    "a.png",
    "b.jpg",
    "keep.png",
    "raw/a.png",
    "raw/deep/b.jpg",
    "2019/raw/a.png",
    "2019/b.jpg",
    "x y/a.png",
    "[1].png",
)


PLAIN = Wanted()


def fill(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(folder: Path, wanted: Wanted = PLAIN) -> set[str]:
    return {str(each.path.relative_to(folder)) for each in walk(folder, wanted) if isinstance(each, FoundFile)}


def by_git(folder: Path) -> set[str]:
    """What git would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z"], cwd=folder, capture_output=True, check=True
    )
    return {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name and not name.endswith(b".gitignore")}


PATTERNS = st.sampled_from(
    [
        "*.png",
        "!keep.png",
        "raw/",
        "/raw",
        "raw/*.png",
        "**/raw",
        "2019/**/a.png",
        "*.[jJ]pg",
        "a.*",
        "/a.png",
        "# note",
        "",
        "raw/**",
        "!raw/deep/",
        "x y/",
        "\\[1].png",
        "2019/raw",
        "?.jpg",
        "deep",
    ]
)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.lists(PATTERNS, max_size=5), inner=st.lists(PATTERNS, max_size=2))
def test_rules_mean_what_they_mean_to_git(
    rules: list[str], inner: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = fill(tmp_path_factory.mktemp("rules"))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for name in (".gitignore", IGNORE_FILE):
        (folder / name).write_text("\n".join(rules))
        (folder / "2019" / name).write_text("\n".join(inner))
    assert found(folder) == by_git(folder) - {IGNORE_FILE, f"2019/{IGNORE_FILE}"}


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "#recycle",
        "@Recycle",
        ".Trash-1000",
        "$RECYCLE.BIN",
        "lost+found",
        ".thumbnails",
        ".@__thumb",
        "System Volume Information",
        "#snapshot",
        "@Recently-Snapshot",
        "RECYCLER",
        ".recycle",
        "node_modules",
    ],
)
def test_other_programs_folders_are_left_out_and_told(name: str, tmp_path: Path) -> None:
    fill(tmp_path, ("a.jpg", f"{name}/b.jpg", f"deep/{name}/c.jpg"))
    assert found(tmp_path, Wanted(hidden=True)) == {"a.jpg"}
    over = Counter(each.what for each in walk(tmp_path, Wanted(hidden=True)) if isinstance(each, PassedOver))
    assert over == {"recycle bins and other programs' folders": 2}
    assert found(tmp_path / name) == {"b.jpg"}, "what is named is looked at"


@pytest.mark.parametrize("marker", [".nomedia", ".noimage", ".ndignore", ".noindex"])
def test_marked_folders_are_left_out(marker: str, tmp_path: Path) -> None:
    fill(tmp_path, ("a.jpg", f"music/{marker}", "music/cover.jpg", "music/deep/cover.jpg"))
    assert found(tmp_path) == {"a.jpg"}
    assert found(tmp_path / "music") == {"cover.jpg", "deep/cover.jpg"}


def test_what_is_passed_over_is_counted_by_kind(tmp_path: Path) -> None:
    fill(tmp_path, ("a.jpg", "b.mp4", "c.MP4", "d.nef", "notes", "e.verylongsuffix\x1b", ".hidden.jpg", "x/out.jpg"))
    over = Counter(each.what for each in walk(tmp_path, Wanted(exclude=("x/",))) if isinstance(each, PassedOver))
    assert over == {".mp4": 2, ".nef": 1, "of other names": 2, "hidden": 1, "left out by a rule": 1}


def test_a_rule_may_name_a_whole_path(tmp_path: Path) -> None:
    fill(tmp_path)
    assert "raw/a.png" not in found(tmp_path, Wanted(exclude=(f"{tmp_path}/raw/*",)))
    assert found(tmp_path, Wanted(exclude=("2019/raw/",))) == set(NAMES) - {"2019/raw/a.png"}


def test_rules_that_cannot_be_read_leave_what_is_known(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "raw" / IGNORE_FILE).write_bytes(b"\xff\xfe\x00")
    unread = [each.path.name for each in walk(tmp_path, Wanted()) if isinstance(each, UnreadablePath)]
    assert unread == ["raw"]


def test_a_named_file_is_looked_at_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "shot.xyz").write_bytes(b"\xff\xd8\xff\xe0")
    assert [each.kind for each in walk(tmp_path / "shot.xyz", Wanted()) if isinstance(each, FoundFile)] == ["image"]
