"""What is wrong with a command line is told in one line on stderr, with exit code 2; and what explains it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from babelclip.cli.main import VERBS
from babelclip.version import __version__

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serch", "a cat"], "found 'serch'. Did you mean search? See: babelclip --help"),
        (["keys", "make"], "expected one of create, topup, change, list, revoke, usage, found 'make'."),
        (["embed", "a", "--modle", "x"], "unknown option: --modle. Did you mean --model? See: babelclip embed --help"),
        (["search", "a", "cat", "--tpo", "3"], "unknown option: --tpo. Did you mean --top? See: babelclip search"),
        (["explain", "a.jpg", "a", "-", "b", "--cels", "3"], "unknown option: --cels. Did you mean --cells?"),
        (["embed", "a", "--dim"], "--dim needs a value. See: babelclip embed --help"),
        (["embed", "a", "--dim", "wide"], 'invalid value for --dim: unable to convert "wide" into int.'),
        (["embed", "a", "--precision", "int4"], 'Choose from: "float32", "int8"'),
        (["similarity", "a", "b", "--top", "0"], 'invalid value "0" for --top. Must be >= 1.'),
        (["embed", "a", "--quiet", "--no-quiet"], "unknown option: --no-quiet. Did you mean --quiet?"),
        (["index", "--dim", "8", "--dim", "16"], "--dim specified multiple times"),
        (["embed", "a", "--model", "http://[bad"], "expected the address of a server, like http://127.0.0.1:8080"),
        (["embed", "a", "--model", "http://host:port"], "expected the address of a server, like http://127.0.0.1:8080"),
        (["train"], "RECIPE is missing. See: babelclip train --help"),
        (["keys", "create", "me"], "--keys is missing. See: babelclip keys create --help"),
        (["doctor", "more", "words"], "expected no more than this, found 'more words' too"),
        (["help", "serch"], "Did you mean search?"),
        (["classify", "a.jpg", "--labels", "a", "--in", "x"], "no use for --in without --indexed: give it too"),
        (["serve", "--index", "x", "--page-name", "y"], "no use for --index, --page-name without --ui: give it too"),
    ],
)
def test_wrong_usage_is_told_in_one_line(call: Call, words: list[str], said: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("babelclip: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_variable_for_other_verbs_is_no_mistake(call: Call, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BABELCLIP_INDEX", str(pictures / "none.db"))
    assert call("classify", pictures / "a.jpg", "--labels", "a,b")[0] == 0
    # In a process of its own, because a server sets up the log of the whole process.
    command = [sys.executable, "-m", "babelclip", "serve", "--model", str(pictures / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("babelclip: there is no folder")


def test_a_file_that_is_no_text_is_named(call: Call, pictures: Path) -> None:
    (pictures / "labels.txt").write_bytes(b"caf\xe9")
    code, _, err = call("classify", pictures / "a.jpg", "--labels-file", pictures / "labels.txt")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{pictures / 'labels.txt'} is not text in UTF-8" in err


def test_an_error_of_the_system_names_the_file(call: Call, pictures: Path) -> None:
    code, _, err = call("classify", pictures / "a.jpg", "--labels-file", pictures)
    assert (code, err) == (1, f"babelclip: {pictures}: Is a directory\n")


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_alone(call: Call, flag: str) -> None:
    assert call(flag) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_the_flag_says(call: Call, verb: str) -> None:
    shown = call(verb, "--help")
    assert shown[0] == 0
    assert shown == call("help", verb)
    assert "BABELCLIP_CONFIG" in shown[1]


def test_help_of_a_verb_of_a_verb(call: Call) -> None:
    assert "keys create" in call("help", "keys", "create")[1]
    assert call("help")[1] == call("--help")[1]


def test_a_line_of_help_ends_where_the_terminal_does(call: Call) -> None:
    words = " ".join(call("search", "--help")[1].replace("│", " ").split())
    assert "some could not be answered; their lines have an error in place of hits." in words
    assert "babelclip search a dog on the beach" in words


def test_bash_completes_verbs_and_options(call: Call, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    code, script, _ = call("completion", "bash")
    assert code == 0
    (tmp_path / "completion").write_text(script)

    def completed(*words: str) -> set[str]:
        line = " ".join(words)
        ask = (
            f"source {tmp_path / 'completion'}; COMP_WORDS=({line!s}); [[ '{line}' == *' ' ]] && COMP_WORDS+=('');"
            f"COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}};"
            "$(complete -p babelclip | sed 's/.*-F \\([^ ]*\\).*/\\1/') babelclip; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run([bash, "-c", ask], capture_output=True, text=True, check=True, env=os.environ)
        return {word.strip() for word in done.stdout.splitlines()}

    assert {"search", "serve"} <= completed("babelclip", "se")
    assert "--correct-gap" in completed("babelclip", "search", "--corr")
    assert "create" in completed("babelclip", "keys", "cr")


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])]
)
def test_every_shell_reads_its_script(call: Call, tmp_path: Path, shell: str, check: list[str]) -> None:
    code, script, _ = call("completion", shell)
    assert code == 0
    assert "correct-gap" in script
    if shutil.which(check[0]) is None:
        pytest.skip(f"{check[0]} is not installed, so what it says of the script is not known")
    (tmp_path / "script").write_text(script)
    subprocess.run([*check, tmp_path / "script"], check=True, capture_output=True)


def test_completion_is_put_where_the_shell_finds_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, _ = call("completion", "bash", "--install")
    assert code == 0
    assert Path(out.strip()).is_relative_to(tmp_path)
    assert "correct-gap" in Path(out.strip()).read_text()
