"""Every setting of the page can be said by an option, a variable and the file, alone and beside the API."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from babelclip.cli import page_options
from babelclip.cli.main import run
from babelclip.serve import run as serving
from babelclip.serve.settings import ServerSettings
from babelclip.web import run as paging
from babelclip.web.settings import PageSettings

VALUES: dict[str, object] = {"name": ["a.example", "b.example"], "url": "https://a.example/albums"}
"""Of those that are no numbers."""
PAGE = [field.name for field in dataclasses.fields(PageSettings)]
OF_THE_SERVER = [field.name for field in dataclasses.fields(page_options.PageServerOptions)] + ["root_path"]
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "search.md"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The settings of a page that a verb starts with arguments, variables and a file."""
    found: list[tuple[PageSettings, ServerSettings | None]] = []

    def alone(*_: object, settings: PageSettings, server: ServerSettings, **__: object) -> None:
        found.append((settings, server))

    def beside(stack: object, index: object, settings: PageSettings, address: object) -> None:
        found.append((settings, None))

    monkeypatch.setattr(paging, "run_page", alone)
    monkeypatch.setattr(serving, "run_server", lambda *_: None)
    monkeypatch.setattr("babelclip.cli.serve._page", beside)
    monkeypatch.setattr("babelclip.cli.options.ModelOptions.open", lambda _: _Nothing())
    monkeypatch.setattr("babelclip.search.index.Index.open", lambda *_, **__: _Nothing())
    monkeypatch.chdir(tmp_path)

    def start(verb: str, arguments: list[str], variables: dict[str, str], file: dict[str, object]) -> Any:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        lines = [f"{key} = {json.dumps(value)}" for key, value in file.items()]
        (tmp_path / "config.toml").write_text("\n".join([f"[{verb}]", *lines]), encoding="utf-8")
        monkeypatch.setenv("BABELCLIP_CONFIG", str(tmp_path / "config.toml"))
        assert run([verb, *(["--ui"] if verb == "serve" else ["--no-open"]), *arguments]) == 0
        for name in variables:
            monkeypatch.delenv(name)
        return found[-1]

    return start


class _Nothing:
    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def said_in_every_way(verb: str, option: str, value: object) -> list[tuple[list[str], dict[str, str], dict[str, Any]]]:
    several = value if isinstance(value, list) else [value]
    variable = f"BABELCLIP_{verb.upper()}_{option.replace('-', '_').upper()}"
    return [
        ([part for each in several for part in (f"--{option}", str(each))], {}, {}),
        ([], {variable: " ".join(map(str, several))}, {}),
        ([], {}, {option: value}),
    ]


@pytest.mark.parametrize("verb", ["ui", "serve"])
@pytest.mark.parametrize("name", PAGE)
def test_every_setting_by_option_variable_and_file(started: Any, name: str, verb: str) -> None:
    value = VALUES.get(name) or getattr(PageSettings(), name) + 1
    for way in said_in_every_way(verb, f"page-{name.replace('_', '-')}", value):
        assert plain(getattr(started(verb, *way)[0], name)) == value, way


@pytest.mark.parametrize("name", OF_THE_SERVER)
def test_limits_of_the_server_that_has_the_page_alone(started: Any, name: str) -> None:
    value = "/below" if name == "root_path" else getattr(paging.SERVER, name) + 1
    for way in said_in_every_way("ui", name.replace("_", "-"), value):
        assert getattr(started("ui", *way)[1], name) == value, way
    assert started("ui", ["--page-upload-bytes", "100"], {}, {})[1].max_body_bytes == 100


def test_what_cannot_be_is_told(started: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for name in PAGE:
        if name not in VALUES:
            option = f"--page-{name.replace('_', '-')}"
            assert run(["ui", "--no-open", option, "-1"]) != 0
            assert f"{option}: expected {0 if 'waiting' in name else 1} or more" in capsys.readouterr().err
    for wrong in ("photos.example.org", "ftp://a.example", "https://", "https://a.example/?x=1", "https://a:x"):
        assert run(["ui", "--no-open", "--page-url", wrong]) != 0
        assert "expected an address as https://" in capsys.readouterr().err
    assert run(["serve", "--page-hits", "60"]) != 0
    assert "no use for --page-hits without --ui" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BABELCLIP_UI_PAGE_HIT", "3")
        assert run(["ui", "--no-open"]) != 0
    assert "unknown variable BABELCLIP_UI_PAGE_HIT" in capsys.readouterr().err


def test_defaults_that_the_help_and_the_guide_name_are_those_of_the_settings() -> None:
    units = {"": 1, "MiB": 2**20}
    source = Path(page_options.__file__).read_text(encoding="utf-8")
    guide = GUIDE.read_text(encoding="utf-8")
    helped = re.findall(r'^    (\w+): .*\n    """[^"]*?; ([\d,]*\d) ?(MiB)?,?[\w ,]*? when\s+left', source, re.M)
    checked = 0
    for name, number, unit in helped:
        value = int(number.replace(",", "")) * units[unit]
        if name.startswith("page_"):
            if name != "page_pictures":  # it depends on the machine
                assert getattr(PageSettings(), name.removeprefix("page_")) == value, name
        else:
            assert getattr(paging.SERVER, name) == value, name
        assert re.search(rf"`{number}(?: {unit})?`[^|]*`--{name.replace('_', '-')}`", guide), f"{name} in the guide"
        checked += 1
    assert checked == len(PAGE) - 2 + len(OF_THE_SERVER) - 1
