"""What the package says of itself: versions of Python, extras, and the commands that install them."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from trove_classifiers import classifiers as known_classifiers

from babelclip.optional_dependency import EXTRAS

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").iterdir()]
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
HINT = re.compile(r"babelclip\[([\w, -]+)\]")
FOR_DEVELOPERS = {"test"}


def test_versions_of_python_are_told_in_one_voice() -> None:
    told = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    oldest = min(told, key=lambda version: int(version.split(".")[1]))
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={oldest}")
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(version in contributing for version in told), "CONTRIBUTING.md says how each version was tried"


def test_classifiers_are_known_and_addresses_are_real() -> None:
    assert set(PROJECT["classifiers"]) <= known_classifiers
    assert "urls" not in PROJECT or all(url.startswith("https://") for url in PROJECT["urls"].values())
    assert not re.search(r"example\.(com|org)|ADDRESS", str(PROJECT))


def constants(path: Path) -> Iterator[str]:
    """Every text of a source file, the parts of those that are put together too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def hints() -> Iterator[tuple[str, str]]:
    """(where, extra) of every extra that a message or a document tells to install."""
    for path in SOURCES:
        for text in constants(path):
            yield from ((str(path.relative_to(ROOT)), extra) for found in HINT.findall(text) for extra in _parts(found))
    for path in DOCUMENTS:
        found = HINT.findall(path.read_text(encoding="utf-8"))
        yield from ((str(path.relative_to(ROOT)), extra) for names in found for extra in _parts(names))


def _parts(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def test_what_messages_tell_to_install_exists() -> None:
    found = list(hints())
    assert len({where for where, _ in found}) > 3
    assert [(where, extra) for where, extra in found if extra not in PROJECT["optional-dependencies"]] == []


def test_extras_that_the_code_asks_for_are_those_that_there_are() -> None:
    asked = {
        node.args[-1].value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("needed_for", "missing_package", "install_line")
        and node.args
        and isinstance(node.args[-1], ast.Constant)
    }
    assert asked <= set(EXTRAS)
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - FOR_DEVELOPERS


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_the_code_expects_of_it(extra: str) -> None:
    required, waiting = set(), [extra]
    while waiting:
        for line in PROJECT["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(line)
            if requirement.name == "babelclip":
                waiting += requirement.extras
            required.add(requirement.name.replace("-", "_"))
    brought_along = {"starlette": "fastapi", "httpcore": "httpx"} | ({"pyarrow": "lancedb"} if extra == "lance" else {})
    core = {Requirement(line).name.replace("-", "_") for line in PROJECT["dependencies"]}
    assert {brought_along.get(package, package) for package in EXTRAS[extra]} <= required | core
