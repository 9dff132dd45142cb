"""Every setting of the server can be said by an option, by a variable and in the file, in that order."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from babelclip.cli.main import run
from babelclip.prepare.open_image import ImageLimits
from babelclip.serve import run as serving
from babelclip.serve.images.fetch_image import FetchPolicy
from babelclip.serve.run import Address
from babelclip.serve.settings import ComputeSettings, ServerSettings

GROUPS = {"compute": ComputeSettings, "image_limits": ImageLimits, "fetch": FetchPolicy, "address": Address}
SPELLED = {
    "served_names": "--served-name", "cors_origins": "--cors-origin", "cache": "--vector-cache",
    "cache_bytes": "--vector-cache-bytes", "fetch.enabled": "--fetch-urls", "fetch.ports": "--fetch-port",
    "image_limits.formats": "--image-format", "address.open_to_all": "--no-keys", "address.page": "--ui",
    "address.page_without_keys": "--ui-without-keys",
}  # fmt: skip
"""Settings whose option is not their own name with hyphens."""
VALUES: dict[str, object] = {
    "mode": "sagemaker", "root_path": "/below", "keys_for": ["metrics", "models"],
    "cors_origins": ["https://a.example", "https://b.example"], "served_names": ["one", "two"],
    "compute.runtime": "onnx", "compute.device": "cpu", "compute.dtype": "float32", "compute.revision": "main",
    "image_limits.formats": ["PNG", "WEBP"], "fetch.allow": ["a.example", "b.example:81"], "fetch.ports": [443, 8443],
    "cache": "cache", "address.host": "localhost", "address.keys": "keys.db", "address.socket": "s.sock",
    "address.certificate": "c.pem", "address.certificate_key": "k.pem",
}  # fmt: skip
"""Of those that are no numbers and no truths."""
ALSO: dict[str, dict[str, object]] = {
    "keys_for": {"keys": "keys.db"}, "address.certificate_key": {"certificate": "c.pem"},
    "address.page_without_keys": {"keys": "keys.db", "ui": True},
}  # fmt: skip
"""What an option needs beside it."""
NONE = {  # that no option says, and why
    "address.mode": "it is that of the settings",
    "image_limits.damaged": "a client cannot be told of a damage, so a damaged image is an error of its request",
}


def settings() -> list[str]:
    names = [field.name for field in dataclasses.fields(ServerSettings) if field.name not in GROUPS]
    below = [f"{group}.{field.name}" for group, kind in GROUPS.items() for field in dataclasses.fields(kind)]
    return [*names, *(name for name in below if name not in NONE)]


def option_of(setting: str) -> str:
    if setting in SPELLED:
        return SPELLED[setting]
    group, _, name = setting.rpartition(".")
    prefix = {"image_limits": "image-", "fetch": "fetch-"}.get(group, "")
    return f"--{prefix}{name.replace('_', '-')}"


class Started(Exception):
    """The server would run now."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The settings of a server that is started with arguments, variables and a file."""
    found: list[tuple[ServerSettings, Address]] = []

    def note(models: object, settings: ServerSettings, address: Address, page: object) -> None:
        found.append((settings, address))

    monkeypatch.setattr(serving, "run_server", note)
    monkeypatch.setattr("babelclip.cli.serve._page", lambda *_: None)
    monkeypatch.chdir(tmp_path)

    def start(arguments: list[str], variables: dict[str, str], file: dict[str, object]) -> Any:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        lines = [f"{key} = {json.dumps(value)}" for key, value in file.items()]
        (tmp_path / "config.toml").write_text("\n".join(["[serve]", *lines]), encoding="utf-8")
        monkeypatch.setenv("BABELCLIP_CONFIG", str(tmp_path / "config.toml"))
        assert run(["serve", *arguments]) == 0
        for name in variables:
            monkeypatch.delenv(name)
        return found[-1]

    return start


def value_in(found: tuple[ServerSettings, Address], setting: str) -> object:
    settings, address = found
    group, _, name = setting.rpartition(".")
    owner: object = address if group == "address" else getattr(settings, group) if group else settings
    value = getattr(owner, name)
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def example(setting: str) -> object:
    """A value that is not the default."""
    if setting in VALUES:
        return VALUES[setting]
    value = value_in((ServerSettings(), Address()), setting)
    if isinstance(value, bool):
        return not value
    return 3 if value is None else type(value)(value + 1)  # type: ignore[operator, call-arg]


def as_arguments(option: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [option]
    return [part for each in (value if isinstance(value, list) else [value]) for part in (option, str(each))]


@pytest.mark.parametrize("setting", settings())
def test_every_setting_by_option_variable_and_file(started: Any, setting: str) -> None:
    option = option_of(setting)
    key, variable = option[2:], "BABELCLIP_SERVE_" + option[2:].replace("-", "_").upper()
    value = example(setting)
    also = ALSO.get(setting, {})
    beside = [part for name, each in also.items() for part in as_arguments(f"--{name}", each)]
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    assert value_in(started([*as_arguments(option, value), *beside], {}, {}), setting) == value
    assert value_in(started(beside, {variable: words}, {}), setting) == value
    assert value_in(started(beside, {}, {key: value}), setting) == value


def test_the_nearer_word_counts(started: Any) -> None:
    variables, file = {"BABELCLIP_SERVE_MAX_ITEMS": "20"}, {"max-items": 30}
    assert started(["--max-items", "10"], variables, file)[0].max_items == 10
    assert started([], variables, file)[0].max_items == 20
    assert started([], {}, file)[0].max_items == 30
    assert started([], {"BABELCLIP_SERVE_HOST": "localhost", "BABELCLIP_HOST": "127.0.0.2"}, {})[1].host == "127.0.0.2"


def test_what_is_no_setting_is_told(
    monkeypatch: pytest.MonkeyPatch, started: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BABELCLIP_SERVE_MAX_ITEM", "3")
    assert run(["serve"]) != 0
    said = capsys.readouterr().err
    assert "unknown variable BABELCLIP_SERVE_MAX_ITEM" in said
    assert "BABELCLIP_SERVE_MAX_ITEMS" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keys-for", "metrics"], "give --keys FILE"),
        (["--certificate-key", "k.pem"], "give --certificate FILE"),
        (["--cors-origin", "app.example.org"], "expected an origin"),
        (["--root-path", "below"], "expected a path"),
        (["--max-items", "0"], "at least 1"),
    ],
)
def test_what_cannot_be_is_told(
    started: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["serve", *arguments]) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_defaults_that_the_help_names_are_those_of_the_settings() -> None:
    from babelclip.cli import serve_options

    units = {"": 1, "MiB": 2**20, "GiB": 2**30}
    checked = 0
    for group in ("ContractOptions", "LimitOptions", "ImageOptions"):
        source = Path(serve_options.__file__).read_text(encoding="utf-8").partition(f"class {group}")[2]
        for name, number, unit in re.findall(
            r'^    (\w+): .*\n    """[^"]*?; ([\d,]+) ?([MG]iB)? when left', source, re.M
        ):
            setting = re.sub("^image_", "image_limits.", re.sub("^fetch_", "fetch.", name))
            found = value_in((ServerSettings(), Address()), setting)
            assert found == int(number.replace(",", "")) * units[unit], name
            checked += 1
    assert checked > 20
