"""Write docs/reference/python.md from the docstrings of the public names.

.venv/bin/python tools/render_python_reference.py            # or: make docs
.venv/bin/python tools/render_python_reference.py --check    # exit 1 when the file is not current
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import babelclip

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "python.md"
WIDTH = 100
HEAD = """\
# Python

Written by `tools/render_python_reference.py` from the docstrings; `make docs` renews it. These are all public names;
what else lies inside the package may change at any time.

N is a number of items, E the width of a model's vectors. `Vectors` is a float32 array (N, E), `ImageSource` what
`Encoder.encode_image` takes, `Scalar` a str, int or float.
"""
CHAPTERS: dict[str, tuple[str, ...]] = {
    "Models": ("load", "ImageLimits"),
    "Encoders": ("Encoder", "RemoteEncoder", "Encodes", "StreamItem"),
    "Vectors": ("similarity", "quantize"),
    "Indexes": ("Index", "Query", "Hit", "Report", "Wanted"),
    "Filters": ("Filter", "Eq", "In", "Range", "Prefix"),
}
"""All but the errors, which come last."""
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$", re.MULTILINE)
TITLES = {"Args": "Arguments"}


def render() -> str:
    """The whole page."""
    parts, told = [HEAD], dict[Any, str]()
    for chapter, names in {**CHAPTERS, "Errors": ()}.items():
        parts.append(f"## {chapter}\n")
        if chapter == "Errors":
            parts += [f"{prose(inspect.getdoc(babelclip.errors) or '')}\n", *errors()]
        for name in names:
            parts += entry(name, getattr(babelclip, name), told)
    missing = set(babelclip.__all__) - {name for names in CHAPTERS.values() for name in names} - set(error_names())
    assert missing == {"__version__"}, f"public names in no chapter: {missing}"
    return "\n".join(parts)


def error_names() -> list[str]:
    """Public errors and warnings, in the order of their definition."""
    own = [value for value in vars(babelclip.errors).values() if inspect.isclass(value)]
    return [value.__name__ for value in own if value.__module__ == "babelclip.errors"]


def errors() -> Iterator[str]:
    """Those errors that carry something."""
    for name in error_names():
        doc = inspect.getdoc(getattr(babelclip, name)) or ""
        if SECTION.search(doc):
            yield f"### `{name}`\n\n{prose(doc)}\n"


def entry(name: str, value: Any, told: dict[Any, str]) -> Iterator[str]:
    """A function, or a class with its public members; what another class has already told is named alone."""
    yield f"### `{name}`\n"
    if not inspect.isclass(value):
        yield f"{signature(name, value)}\n\n{prose(inspect.getdoc(value) or '')}\n"
        return
    is_made = not (getattr(value, "_is_protocol", False) or inspect.isabstract(value))
    maker = vars(value).get("__init__") if not is_dataclass(value) else None
    parts = [prose(inspect.getdoc(value) or ""), signature(name, value) if is_made else "", fields(value)]
    yield "\n\n".join(filter(None, [*parts, prose(inspect.getdoc(maker) or "") if maker else ""])) + "\n"
    inherited: dict[str, list[str]] = {}
    for member, found in members(value):
        if found in told:
            inherited.setdefault(told[found], []).append(f"`{member}`")
            continue
        told[found] = name
        if isinstance(found, property):
            yield f"#### `{name}.{member}`\n\n{prose(inspect.getdoc(found) or '')}\n"
        else:
            called = getattr(value, member)
            yield f"#### `{name}.{member}()`\n\n{signature(member, called)}\n\n{prose(inspect.getdoc(called) or '')}\n"
    for owner, names in inherited.items():
        yield f"{', '.join(names)}: as in `{owner}`.\n"


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, those of its bases too, in the order of their definition."""
    seen: dict[str, Any] = {}
    for each in owner.__mro__:
        if each.__module__.partition(".")[0] == "babelclip":
            for name, found in vars(each).items():
                if isinstance(found, property | classmethod | staticmethod) or inspect.isfunction(found):
                    seen.setdefault(name, found)
    yield from ((name, found) for name, found in seen.items() if not name.startswith("_"))


def fields(owner: type) -> str:
    """The fields of a dataclass, with what their comments say."""
    if not is_dataclass(owner):
        return ""
    lines = []
    for line in inspect.getsource(owner).splitlines():
        found = re.match(r"    (\w+): ([^=#]+?)(?: = .*?)?(?:  # (.*))?$", line)
        if found and found[1] in owner.__dataclass_fields__:
            lines.append(f"- `{found[1]}`: `{found[2]}`" + (f", {prose(found[3])}" if found[3] else ""))
    return "\n".join(lines)


def signature(name: str, value: Any) -> str:
    """How it is called, in Python; wrapped where it is long."""
    called = inspect.signature(value)
    parts: list[str] = []
    for each in called.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if each.name != "self":
            parts.append(f"{each.name}: {each.annotation}{default(each)}")
    result = "" if inspect.isclass(value) else f" -> {called.return_annotation}"
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"
    return f"```text\n{line}\n```"


def default(parameter: inspect.Parameter) -> str:
    """The value that is taken when none is given; one that is made for each call is left out."""
    if parameter.default is parameter.empty:
        return ""
    if inspect.isfunction(parameter.default):
        return f" = {parameter.default.__name__}"
    shown = repr(parameter.default)
    return " = ..." if shown == "<factory>" else f" = {shown}"


def prose(doc: str) -> str:
    """A docstring as Markdown: its sections become lists."""
    body, *rest = SECTION.split(doc)
    parts = [body.strip()]
    for title, content in zip(rest[::2], rest[1::2], strict=True):
        block, *after = re.split(r"\n(?=\S)", content.strip("\n"), maxsplit=1)
        parts.append(f"{TITLES.get(title, title)}:\n\n" + items(textwrap.dedent(block)))
        parts += after
    return re.sub(r"``(.+?)``", r"`\1`", "\n\n".join(filter(None, parts)))


def items(block: str) -> str:
    """Entries as a list; what is none, such as a lone sentence on what is returned, stays one."""
    lines = []
    for line in re.sub(r"\n +", " ", block.strip()).splitlines():
        found = re.match(r"(\*{0,2}\w+): (.*)", line)
        lines.append(f"- `{found[1]}`: {found[2]}" if found else f"- {line}")
    return "\n".join(lines)


def main() -> int:
    """Write the page, or compare it with what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    page = render()
    if parser.parse_args().check:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        print("current" if current else f"{PAGE} is not what the docstrings say; run: make docs")
        return 0 if current else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
