"""A file named on the command line is a file: every verb that takes items, and every kind of name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from babelclip.errors import ConfigError
from babelclip.prepare.kinds import Kind
from babelclip.search.query import Query

Call = Callable[..., tuple[int, str, str]]
FILES = ["a.jpg", "IMG_0001", "shot.dng", "two words.raw", "sub/shot.x3f", "note.txt", "scan.PDF", "dog"]
"""What lies in the folder."""
NAMES: dict[str, Kind | None] = {
    "a.jpg": "image",
    "./a.jpg": "image",
    "shot.dng": "image",
    "./shot.dng": "image",
    "two words.raw": "image",
    "sub/shot.x3f": "image",
    "IMG_0001": "image",
    "dog": "image",
    "./dog": "image",
    "note.txt": None,
    "./note.txt": None,
    "scan.PDF": None,
    "absent.txt": None,
    "./absent": None,
    "/absent/file": None,
    "../absent.dng": None,
    "sub/absent.dng": None,
    "~/absent-file": None,
    "two dogs": "text",
    "cat": "text",
    "and/or": "text",
    "24/7": "text",
    "3.5": "text",
    "Mr. Smith": "text",
    "https://example.com/page.html": "text",
    "a/b is not a path.": "text",
    "x" * 5000: "text",
    "nul\x00": "text",
    "": "text",
}
"""What is typed -> what it is; None: an error that says what to do."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"some bytes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("name", "kind"), NAMES.items(), ids=[name[:30] or "nothing" for name in NAMES])
def test_embed_and_similarity(call: Call, name: str, kind: Kind | None) -> None:
    code, out, err = call("embed", "a cat", "--", name)
    found = [json.loads(line)["kind"] for line in out.splitlines()][1:]
    assert found == ([] if kind is None else [kind]), err
    assert code == (3 if kind is None else 0)
    if kind is None:
        assert "--text" in err
        assert json.loads(call("embed", "--text", "--", name)[1])["kind"] == "text"
    for arguments in (["--with", "a cat", "--", name], ["a cat", "--with", name]):
        _, out, err = call("similarity", "--json", *arguments)
        assert ('"kind": "image"' in out) == (kind == "image"), (arguments, err)
        assert ("--text" in err) == (kind is None)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("name", "kind"), NAMES.items(), ids=[name[:30] or "nothing" for name in NAMES])
def test_queries_of_search_and_explain(name: str, kind: Kind | None) -> None:
    if kind is None:
        with pytest.raises(ConfigError, match="words are searched for"):
            Query.parse([name])
        with pytest.raises(ConfigError, match="words are searched for"):
            Query.parse(["a", "cat", "-", f"2:{name}"])
        return
    if not name:
        with pytest.raises(ConfigError, match="nothing to search for"):
            Query.parse([name])
        return
    assert [part.kind for part in Query.parse([name]).parts] == [kind]
    assert [part.kind for part in Query.parse([name], files=False).parts] == ["text"]  # from elsewhere


@pytest.mark.usefixtures("folder")
def test_a_word_among_words_is_no_file() -> None:
    """Prose names files by chance; what has a dot or a separator in it does not."""
    assert [part.kind for part in Query.parse(["a", "dog", "runs"]).parts] == ["text"]
    assert [part.kind for part in Query.parse(["a", "./dog", "runs"]).parts] == ["text", "image", "text"]
    assert [part.kind for part in Query.parse(["like", "shot.dng"]).parts] == ["text", "image"]


@pytest.mark.usefixtures("folder")
def test_lines_of_stdin_are_data(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    lines = [json.dumps(name) for name in ("dog", "./dog", "shot.dng", "note.txt", "sub/absent.dng")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    code, out, err = call("embed", "-")
    assert code == 3
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["text", "image", "image"]
    assert err.count("--text") == 2


@pytest.mark.usefixtures("folder")
def test_classify_takes_files_alone(call: Call) -> None:
    code, out, err = call("classify", "shot.dng", "IMG_0001", "cat", "--labels", "a,b", "--json")
    assert (code, len(out.splitlines())) == (3, 2), err
    assert "no such file" in err
