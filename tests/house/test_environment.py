"""Variables of the environment: what the code reads is explained, and nothing is explained that it does not read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from babelclip.cli.configuration import VARIABLES_BEGIN
from babelclip.cli.environment import VARIABLES
from babelclip.cli.main import app

SOURCE = Path(__file__).parents[2] / "src" / "babelclip"
TABLE = "cli/environment.py"
PREFIXED = re.compile(r"(BABELCLIP|HF|OMP|ORT|XDG|OPENBLAS|MKL)_[A-Z_]+")
THE_HUBS = {"HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"}
"""What huggingface_hub reads for us."""
OF_THE_BUILD = {"BABELCLIP_WEIGHTS"}  # hatch_build.py; explained in packages/babelclip-small/README.md
OF_TESTS = {"BABELCLIP_NEEDS_BROWSER", "BABELCLIP_NEEDS_NGINX"}


def is_environment(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def names_read(tree: ast.Module) -> Iterator[ast.expr]:
    """What stands where a variable is named: environ[...], environ.get(...), in environ, getenv(...), env_var=..."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=value, slice=name) if is_environment(value):
                yield name
            case ast.Call(func=ast.Attribute(value=value, attr="get" | "setdefault" | "pop"), args=[name, *_]) if (
                is_environment(value)
            ):
                yield name
            case ast.Call(func=ast.Attribute(attr="getenv"), args=[name, *_]):
                yield name
            case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[right]) if is_environment(right):
                yield name
            case ast.keyword(arg="env_var", value=name):
                yield name


def constants(tree: ast.Module) -> dict[str, str]:
    """Names that stand for a text in this file."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def found() -> dict[str, str]:
    """Variable -> a file that reads it. Names that are handed on as texts are found by how they begin."""
    places: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name == TABLE:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        known = constants(tree)
        for node in names_read(tree):
            if isinstance(node, ast.Constant):
                places[str(node.value)] = name
            elif isinstance(node, ast.Name) and node.id in known:
                places[known[node.id]] = name
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and PREFIXED.fullmatch(node.value):
                places[node.value] = name
    return places


def test_every_variable_that_is_read_is_explained() -> None:
    explained = {variable.name for variable in VARIABLES}
    unexplained = {name: place for name, place in found().items() if name not in explained}
    assert unexplained == {}


def test_every_variable_that_is_explained_is_read() -> None:
    assert {variable.name for variable in VARIABLES} - set(found()) - THE_HUBS == set()


def test_documents_name_only_variables_that_there_are() -> None:
    root = SOURCE.parents[1]
    of_options = {
        begin + option.name[2:].replace("-", "_").upper()
        for verb, begin in VARIABLES_BEGIN.items()
        for option in app[verb].assemble_argument_collection()
    }
    known = {variable.name for variable in VARIABLES} | OF_THE_BUILD | OF_TESTS
    for file in (*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("deploy/*")):
        named = set(re.findall(r"\bBABELCLIP_[A-Z_]+\b", file.read_text(encoding="utf-8"))) - of_options
        assert named <= known, f"{file.relative_to(root)}: {sorted(named - known)}"
