"""Every verb that reads pictures with every kind of file: what it makes of it, what it says, and that it names it."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

import babelclip
from babelclip.cli.main import run, show_warning
from babelclip.cli.plain_output import PlainStream, as_plain_text, on_one_line
from babelclip.encoder import Encoder

from .named_files import DAMAGED, KINDS, PICTURE, Kind, make, picture

Said = tuple[int, str, str]
"""Exit code, stdout, stderr."""


@pytest.fixture(scope="module")
def encoder(exported_folder: Callable[[str], Path]) -> Encoder:
    return babelclip.load(exported_folder("small_int8"))


@pytest.fixture
def call(encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Said]:
    """A verb in this process; the real model is loaded once for all."""
    monkeypatch.setattr(babelclip, "load", lambda *_, **__: encoder, raising=False)
    monkeypatch.setattr("warnings.showwarning", show_warning)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path, stdin: str = "") -> Said:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdout", PlainStream(out))
        monkeypatch.setattr(sys, "stderr", PlainStream(err))
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = run([str(argument) for argument in arguments])
        return code, out.getvalue(), err.getvalue()

    return call


Call = Callable[..., Said]


def search(call: Call, file: Path) -> Said:
    (file.parent.parent / "one.jpg").write_bytes(picture())
    index = file.parent.parent / "index.db"
    assert call("index", file.parent.parent / "one.jpg", "--index", index, "--quiet")[0] == 0
    return call("search", file, "--index", index)


def index(call: Call, file: Path, *options: str) -> Said:
    return call("index", file, "--index", file.parent.parent / "index.db", "--quiet", *options)


VERBS: dict[str, tuple[Callable[[Call, Path], Said], Callable[[Kind], str]]] = {
    "embed": (lambda call, file: call("embed", "--", file), lambda kind: kind.as_typed),
    "embed --image": (lambda call, file: call("embed", "--image", "--", file), lambda kind: kind.shown),
    "embed -": (lambda call, file: call("embed", "-", stdin=json.dumps({"image": str(file)})), lambda kind: kind.shown),
    "similarity": (lambda call, file: call("similarity", "a cat", "--with", file), lambda kind: kind.as_typed),
    "classify": (lambda call, file: call("classify", "--labels", "a,b", "--", file), lambda kind: kind.shown),
    "search": (search, lambda kind: kind.as_typed),
    "explain": (lambda call, file: call("explain", file, "a cat", "--cells", "2"), lambda kind: kind.shown),
    "index": (index, lambda kind: kind.as_indexed),
    "index FOLDER": (
        lambda call, file: call("index", file.parent, "--documents", "--index", file.parent.parent / "i.db", "--quiet"),
        lambda kind: kind.as_found,
    ),
}
"""What is run, and what of a kind's row holds for it."""


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("verb", "kind"), list(product(VERBS, KINDS)))
def test_each_verb_with_each_kind_of_file(verb: str, kind: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    file = make(KINDS[kind], tmp_path / "photos")
    act, expectation = VERBS[verb]
    code, out, err = act(call, file)
    expected = expectation(KINDS[kind])
    if expected in (PICTURE, DAMAGED, ""):
        assert code == 0, err
    else:
        assert code in (1, 2, 3), (out, err)
        assert re.search(expected, err), err
    if expected == PICTURE:
        assert not err.strip(), err
    if expected == DAMAGED:
        assert "cut short" in err, err
    if expected not in (PICTURE, ""):
        assert any(each[-80:] in err for each in spellings(file)), "what is said names the file"
    for line in err.splitlines():
        assert line.startswith("babelclip: "), err
        assert line.count("babelclip: ") == 1 or "newline" in kind, err
    assert {letter for letter in out + err if not letter.isprintable()} <= {"\n"}
    assert not re.search(r"^babelclip: two\.jpg", out + err, re.MULTILINE), "a name began a line"
    if verb.startswith("embed"):
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row.get("damaged") for row in rows] == {PICTURE: [None], DAMAGED: [1]}.get(expected, [])


def spellings(file: Path) -> list[str]:
    """How a file's name may be written where letters of it cannot be."""
    plain = as_plain_text(on_one_line(file))
    return [plain, ascii(str(file))[1:-1], ascii(str(file))[1:-1].replace("\\udc", "\\x"), ascii(plain)[1:-1]]


@pytest.mark.parametrize(
    "verb", [["embed"], ["similarity", "a cat", "--with"], ["classify", "--labels", "a,b"], ["explain"]]
)
def test_ones_own_limit_of_pixels(
    verb: list[str], tmp_path: Path, exported_folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(picture("PNG"))
    options = ["--model", str(exported_folder("small_int8")), "--max-pixels", "4799"]
    words = ["a cat", "--out", str(tmp_path / "painted.png")] if verb == ["explain"] else []
    assert run([*verb, str(tmp_path / "a.png"), *words, *options]) in (1, 2, 3)
    assert "80 x 60 pixels are 4,800, the limit is 4,799" in capsys.readouterr().err
    assert run([*verb, str(tmp_path / "a.png"), *words, *options[:-1], "4800"]) == 0
