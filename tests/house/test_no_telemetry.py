"""Libraries that report to their makers are told not to before they are loaded, and in one place."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from babelclip.no_telemetry import HUB_CLIENT, ONNX_RUNTIME, REPORTING

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "babelclip"
PLACE = SOURCE / "no_telemetry.py"
EXPLAINED = SOURCE / "cli" / "environment.py"
LIBRARIES = {each.read_by.partition(".")[0] for each in REPORTING}
DEPENDENCIES_THAT_REPORT = re.compile(
    r"openvino|chromadb|gradio|ray\b|haystack|wandb|posthog|sentry|streamlit|llama-index|mlflow|dvc|crewai|analytics"
)
"""Packages that report when they are used. No extra brings one; who adds one adds it to ``no_telemetry`` as well."""
OUTSIDE = sorted(
    path
    for folder in ("packages", "tools", "recipes", "benchmarks", "lab", "examples", "deploy")
    for path in (ROOT / folder).rglob("*.py")
)


def test_it_is_switched_off_before_anything_is_loaded() -> None:
    """``babelclip/__init__.py`` runs before any other module of the package does."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    loaded = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in loaded}
    own = {name for name in modules if name.startswith("babelclip.")}
    assert own == {"babelclip.errors", "babelclip.no_telemetry", "babelclip.version"}
    assert {name.partition(".")[0] for name in modules - own} <= sys.stdlib_module_names
    (call,) = [node for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    assert ast.unparse(call) == "_switch_off_telemetry()"


def loads_before_babelclip(text: str) -> Iterator[str]:
    """Libraries that report and that a script imports before it imports babelclip."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            roots = {name.partition(".")[0] for name in names}
            if "babelclip" in roots:
                return
            yield from roots & LIBRARIES


def test_scripts_import_babelclip_first() -> None:
    assert len(OUTSIDE) > 30
    found = {path.relative_to(ROOT).as_posix(): list(loads_before_babelclip(path.read_text())) for path in OUTSIDE}
    assert {name: loads for name, loads in found.items() if loads} == {}
    assert list(loads_before_babelclip("import onnxruntime\nimport babelclip")) == ["onnxruntime"]
    assert list(loads_before_babelclip("import babelclip\nfrom huggingface_hub import constants")) == []


def test_one_place_decides() -> None:
    files = [*SOURCE.rglob("*.py"), *OUTSIDE]
    setting = {path for path in files for each in REPORTING if each.variable in path.read_text(encoding="utf-8")}
    assert setting == {PLACE, EXPLAINED}


def test_no_dependency_reports_without_being_named() -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    names = [line.partition("==")[0] for line in pinned.splitlines() if "==" in line]
    assert len(names) > 50
    assert [name for name in names if DEPENDENCIES_THAT_REPORT.search(name)] == []
    assert DEPENDENCIES_THAT_REPORT.search("openvino-telemetry")


STATES = "from babelclip.no_telemetry import telemetry; import json; print(json.dumps(list(telemetry().values())))"


def told(before: str = "", **variables: str) -> tuple[str, str]:
    """What a new process says of the libraries' telemetry, and what it warns of."""
    free = {name: value for name, value in os.environ.items() if name not in {each.variable for each in REPORTING}}
    command = [sys.executable, "-c", f"{before}\nimport babelclip, babelclip, babelclip.vectors\n{STATES}"]
    done = subprocess.run(command, env=free | variables, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    "variables", [{}, dict.fromkeys((each.variable for each in REPORTING), ""), {ONNX_RUNTIME.variable: "True"}]
)
def test_it_is_off(variables: dict[str, str]) -> None:
    assert told(**variables) == ('["off", "off"]', "")


def test_what_a_user_says_holds_and_is_told() -> None:
    states, warned = told(**{ONNX_RUNTIME.variable: "0"})
    assert states == """["on, because ORT_DISABLE_TELEMETRY is '0'; 1, or not set, switches it off", "off"]"""
    assert warned == ""


def test_who_imported_the_library_first_is_warned_once() -> None:
    """A stand-in for the library, which would report from here; what counts is that it was there before."""
    before = f"import sys, types; sys.modules[{ONNX_RUNTIME.read_by!r}] = types.ModuleType('onnxruntime')"
    states, warned = told(before)
    assert states.startswith('["on: ONNX Runtime was imported before babelclip')
    assert warned.count("import babelclip first, or set ORT_DISABLE_TELEMETRY=1") == 1
    assert len(warned.splitlines()) == 1
    assert told(before, **{ONNX_RUNTIME.variable: "1"}) == ('["off", "off"]', "")


def test_the_hub_s_client_is_told_late_too() -> None:
    """It would name torch's version, and the program that runs it, in requests."""
    before = f"import {HUB_CLIENT.read_by} as constants; assert not constants.{HUB_CLIENT.variable}"
    assert told(before) == ('["off", "off"]', "")
    asked = "import huggingface_hub.utils as utils; print(utils.build_hf_headers()['user-agent'])"
    agent, _ = told(f"{before}\nimport babelclip\n{asked}")
    assert "hf_hub/" in agent
    assert "torch/" not in agent
