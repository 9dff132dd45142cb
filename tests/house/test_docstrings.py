"""One form of docstring: arguments, results and errors stand in Google's sections, one entry a line."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "babelclip"
SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields")
SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$", re.MULTILINE)
NOT_YET: tuple[str, ...] = ()
"""Rooms that still have to be brought into this form."""
SOURCES = sorted(path for path in SOURCE.rglob("*.py") if not path.relative_to(SOURCE).as_posix().startswith(NOT_YET))

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(tree: ast.AST) -> Iterator[tuple[Documented, str]]:
    """Classes and functions that have a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)) is not None:
            yield node, text


def arguments(node: Documented) -> set[str]:
    """Names of a function's arguments; of a class, its fields and those of its constructor."""
    if isinstance(node, ast.ClassDef):
        fields = {ast.unparse(line.target) for line in node.body if isinstance(line, ast.AnnAssign)}
        makers = [line for line in node.body if isinstance(line, ast.FunctionDef) and line.name == "__init__"]
        return fields.union(*map(arguments, makers))
    listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return {argument.arg for argument in listed if argument is not None}


def problems(node: Documented, text: str) -> Iterator[str]:
    """What of this docstring is not in the form."""
    body, *rest = SECTION.split(text)
    names = arguments(node) - {"self", "cls"}
    if re.search(r"\bRaises:? +\S", text):
        yield "errors are named in a sentence: give them a section Raises:"
    for name in names:
        if re.search(rf"(?:^|[ ;,(])`*{re.escape(name)}`*: \S", body, re.MULTILINE):
            yield f"{name} is described outside of Args:"
    for section, content in zip(rest[::2], rest[1::2], strict=True):
        if section in ("Args", "Attributes", "Raises"):
            yield from entries(section, content, names)


def entries(section: str, content: str, names: set[str]) -> Iterator[str]:
    """What of one section is not an entry a line."""
    block = re.split(r"\n(?=\S)", content.strip("\n"))[0]
    for line in textwrap.dedent(block).splitlines():
        if not line.strip() or line.startswith(" "):
            continue
        entry = re.match(r"\*{0,2}(\w+): \S", line)
        if entry is None:
            yield f"{section}: {line!r} is not `name: what`"
        elif section == "Args" and entry[1] not in names:
            yield f"Args: there is no argument {entry[1]}"
        elif re.search(r"\.  +\w+: ", line):
            yield f"{section}: two entries in {line!r}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_docstrings_are_of_one_form(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"{node.lineno} {node.name}: {what}" for node, text in documented(tree) for what in problems(node, text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "Do it. Raises: ConfigError for nothing.",
        "Do it.\n\nRaises ``ConfigError`` where it cannot.",
        "Do it.\n\nwidth: of the vectors.",
        "Do it with `width`: of the vectors.",
        "Do it.\n\nArgs:\n    other: is no argument.",
        "Do it.\n\nRaises:\n    ConfigError, FolderError: two in one entry.",
        "Do it.\n\nArgs:\n    width: of it.  height: of it too.",
    ],
)
def test_another_form_is_found(text: str) -> None:
    node = ast.parse(f'def do(width, height):\n    """{text}"""').body[0]
    assert isinstance(node, Documented)
    assert list(problems(node, text))


def test_the_form_is_found_good() -> None:
    text = "Do it: (N, E).\n\nArgs:\n    width: of it,\n        in pixels.\n\nRaises:\n    ConfigError: it cannot."
    node = ast.parse(f'def do(width, height):\n    """{text}"""').body[0]
    assert isinstance(node, Documented)
    assert list(problems(node, text)) == []
