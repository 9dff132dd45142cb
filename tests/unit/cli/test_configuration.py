"""The configuration file: after the command line and the environment; what it does not know is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from babelclip.cli.configuration import CHOSEN_EACH_TIME, FOR_ALL, user_file
from babelclip.cli.main import VERBS, app

Call = Callable[..., tuple[int, str, str]]
Configure = Callable[[str], Path]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Write the file that is in force."""
    path = tmp_path / "chosen.toml"
    monkeypatch.setenv("BABELCLIP_CONFIG", str(path))

    def write(text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        return path

    return write


def missing_index(call: Call, *words: str) -> str:
    """The name of the index that a search asks for; none of them is there."""
    code, _, err = call("search", "a cat", *words)
    assert code == 1
    return Path(err.strip().split(" ")[-1]).name


def test_flag_then_environment_then_file(call: Call, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configure('[all]\nindex = "/absent/all.db"\n')
    assert missing_index(call) == "all.db"
    configure('[all]\nindex = "/absent/all.db"\n[search]\nindex = "/absent/file.db"\n')
    assert missing_index(call) == "file.db"
    monkeypatch.setenv("BABELCLIP_INDEX", "/absent/environment.db")
    assert missing_index(call) == "environment.db"
    assert missing_index(call, "--index", "/absent/flag.db") == "flag.db"


def test_what_a_verb_gets(call: Call, configure: Configure) -> None:
    configure(
        '[all]\nthreads = 2\nquiet = true\n[embed]\ndim = 8\nmax_tokens = 4\n[keys.create]\nbalance = "unlimited"\n'
    )
    assert len(json.loads(call("embed", "a cat")[1])["vector"]) == 8
    assert len(json.loads(call("embed", "a cat", "--dim", "4")[1])["vector"]) == 4
    assert call("keys", "list", "--keys", "absent.db")[0] == 1  # it has none of these options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serach]\n", "unknown [serach]; expected one of all, embed, similarity"),
        ("top = 3\n", "unknown [top]; expected one of all, embed"),
        ("search = 3\n", "expected a table [search] with options in it, found search = 3"),
        ("[all]\ntop = 3\n", "unknown top in [all]; expected one of device, dtype, index"),
        ("[embed]\nwidth = 3\n", "unknown width in [embed]; expected one of device, dim, dtype, errors-to"),
        ("[embed]\nitems = 'a'\n", "unknown items in [embed]"),
        ("[embed]\ndim = 'wide'\n", 'unable to convert "wide" into int'),
        ("[embed]\nprecision = 'int4'\n", 'Choose from: "float32", "int8"'),
        ("[embed\n", "is not TOML in UTF-8: "),
    ],
)
def test_what_the_file_gets_wrong_is_named(call: Call, configure: Configure, text: str, said: str) -> None:
    path = configure(text)
    code, out, err = call("embed", "a cat")
    assert (code, out) == (2, "")
    assert err.startswith("babelclip: ")
    assert err.count("\n") == 1
    assert said in err
    assert str(path) in err


def test_a_file_that_is_named_must_be_there(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BABELCLIP_CONFIG", str(tmp_path / "absent.toml"))
    assert "BABELCLIP_CONFIG names" in call("embed", "a cat")[2]


def test_the_users_file_is_found_and_the_current_folder_is_not_searched(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BABELCLIP_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("babelclip.toml", "config.toml", "pyproject.toml"):
        (tmp_path / name).write_text("[embed]\ndim = 4\n[tool.babelclip]\ndim = 4\n")
    assert len(json.loads(call("embed", "a cat")[1])["vector"]) == 16
    user_file().parent.mkdir(parents=True)
    user_file().write_text("[embed]\ndim = 8\n")
    assert len(json.loads(call("embed", "a cat")[1])["vector"]) == 8


def test_doctor_says_where_each_value_comes_from(
    call: Call, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configure('[all]\nindex = "a.db"\nthreads = 3\n[keys.create]\nbalance = "unlimited"\n')
    monkeypatch.setenv("BABELCLIP_INDEX", "/b.db")
    monkeypatch.setenv("BABELCLIP_KEY", "secret")
    out = call("doctor", "--json")[1]
    found = json.loads(out)["configuration"]
    assert found["file"] == str(path)
    assert found["all.threads"] == f"3 ({path})"
    assert found["all.index"] == f"a.db ({path}, but BABELCLIP_INDEX comes first)"
    assert found["keys.create.balance"] == f"unlimited ({path})"
    assert found["BABELCLIP_INDEX"] == "/b.db (environment)"
    assert "secret" not in out


def test_doctor_reads_what_is_for_other_verbs_too(call: Call, configure: Configure) -> None:
    configure("[mine]\nnegatvies = 3\n")
    assert call("embed", "a cat")[0] == 0
    code, _, err = call("doctor")
    assert code == 2
    assert "unknown negatvies in [mine]; expected one of below, corpus" in err


def test_options_of_all_verbs_are_options_of_several() -> None:
    having = {
        name: [
            verb
            for verb in VERBS
            if app[verb].default_command is not None
            and any(f"--{name}" in option.names for option in app[verb].assemble_argument_collection())
        ]
        for name in FOR_ALL
    }
    assert {name for name, verbs in having.items() if len(verbs) < 2} == set()
    for name, verbs in CHOSEN_EACH_TIME.items():
        assert name in FOR_ALL
        assert set(verbs) <= set(VERBS)
