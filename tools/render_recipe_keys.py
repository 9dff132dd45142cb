"""Make docs/reference/recipes.md: every key of a training recipe, from the dataclasses that read it.

    python tools/render_recipe_keys.py [--check]

A section for each table of the TOML file: what its docstring says, and for each key its type, its default, and the
comment beside it in the source.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from babelclip.train.recipe import Recipe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "recipes.md"
NOT_WRITTEN = {"folder"}
"""Fields of the classes that no file holds."""
MEANINGS = {
    "kind": "which kind this is",
    "name": "its name in logs and messages",
    "weight": "of its loss, beside the other objectives'",
    "seed": "of everything that is drawn at random",
    "directions": "of the two directions' losses: their mean (OpenCLIP) or their sum (jina-clip-v1)",
    "max_tokens": "of a text, special ones included",
    "sources": "name of some data -> how often it is drawn, beside the others",
    "texts": "texts that are drawn",
    "images": "images that are drawn",
    "steps": "how many",
    "minutes": "of wall-clock time",
    "learning_rate": "at its highest, after the warm-up",
    "weight_decay": "by how much weights are pulled to zero",
    "width": "of a token's vector",
    "layers": "how many blocks",
    "heads": "of attention",
    "head_width": "of one head of attention",
    "hidden": "width inside the feed-forward",
    "patch": "side of a square of pixels that becomes a token",
    "image_size": "side of the square that the model sees, in pixels",
    "learned": "false: it stays at `start`",
    "max": "it never rises above this",
    "augment": "crops and colors that differ each time",
    "loss": "how the pairs are told from the rest",
    "relational_weight": "of the likeness among the batch's own items, beside each item's vector",
    "relational_temperature": "of that likeness: lower looks at the nearest alone",
    "train": "all weights, low-rank updates (LoRA), or nothing",
    "alpha": "of LoRA: its update is multiplied by `alpha / rank`",
    "memory_gb": "in memory, at most",
    "storage": "how numbers are stored in the finished model",
    "architecture": "the towers that the files fill",
    "vision": "file of the image tower",
    "text": "file of the text tower",
    "tokenizer": "file of the tokenizer",
}
"""Of keys whose type or name says most of it, so that the source has no comment beside them."""
HEAD = """# Recipes: every key

A recipe is one TOML file; [the guide](../guides/train.md) says how to run one, [the glossary](../concepts/glossary.md)
what the words mean. A key that is unknown, of a wrong type, out of range, or at odds with another is an error that
names it. Written by `tools/render_recipe_keys.py` from the classes that read the file.
"""


def tables(of: type, name: str = "the file", seen: dict[type, str] | None = None) -> Iterator[tuple[type, str]]:
    """A class and those of its fields, each once, with where in the file it stands."""
    seen = {} if seen is None else seen
    if of in seen:
        return
    seen[of] = name
    yield of, name
    hints = typing.get_type_hints(of)
    for field in dataclasses.fields(of):
        for inner in classes_in(hints[field.name]):
            yield from tables(inner, field.name, seen)


def classes_in(hint: Any) -> Iterator[type]:
    """The dataclasses that a type speaks of."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for inner in typing.get_args(hint):
        yield from classes_in(inner)


def type_in_words(hint: Any) -> str:
    """What a TOML file holds for a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(f'`"{one}"`' if isinstance(one, str) else f"`{one}`" for one in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_in_words(one) for one in inner if one is not type(None)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"table of {type_in_words(inner[1])}"
    if isinstance(origin, type):
        return f"list of {type_in_words(inner[0])}"
    if dataclasses.is_dataclass(hint):
        return f"[{title(hint)}](#{anchor(title(hint))})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(hint, "__name__", str(hint)), "text"
    )


def title(of: Any) -> str:
    """The kind by which a recipe chooses a table, else the class's name as words."""
    kind = typing.get_type_hints(of).get("kind")
    if typing.get_origin(kind) is typing.Literal and len(typing.get_args(kind)) == 1:
        return str(typing.get_args(kind)[0])
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", of.__name__.removesuffix("Settings").removesuffix("Plan"))
    return words.capitalize()


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def comments(of: type) -> dict[str, str]:
    """Field -> the comment on its line."""
    found: dict[str, str] = {}
    for each in reversed(of.__mro__[:-1]):
        for line in inspect.getsource(each).splitlines():
            if match := re.match(r"    (\w+): .*?  # (.+)$", line):
                found[match[1]] = match[2].replace("``", "`").replace("|", "\\|")
    return found


def default_in_words(field: dataclasses.Field[Any]) -> str:
    """As a TOML file would spell it; nothing where it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return "none"
    if field.default is dataclasses.MISSING:
        return "**must be given**"
    value = field.default
    if value is None or value == () or dataclasses.is_dataclass(value):
        return "none" if not dataclasses.is_dataclass(value) else "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def meaning(name: str, hint: Any) -> str:
    """Of a key that has no comment in the source: a table explains itself, of the others ``MEANINGS`` has it."""
    return "a table" if any(classes_in(hint)) else MEANINGS[name]


def section(of: type, name: str) -> str:
    """Heading, what the class says, and its keys."""
    hints, said = typing.get_type_hints(of), comments(of)
    rows = [
        " | ".join(
            (
                f"| `{field.name}`",
                type_in_words(hints[field.name]),
                default_in_words(field),
                f"{said.get(field.name) or meaning(field.name, hints[field.name])} |",
            )
        )
        for field in dataclasses.fields(of)
        if field.name not in NOT_WRITTEN
    ]
    where = "" if name == "the file" else f"Stands under `{name}`. "
    text = inspect.cleandoc(of.__doc__ or "").replace("``", "`")
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    return f"## {title(of)}\n\n{where}{text}\n\n{table}"


def render() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n{section(of, name).rstrip()}\n" for of, name in tables(Recipe))


def main() -> int:
    """Rewrite or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 when the page is not current")
    options = parser.parse_args()
    page = render()
    if options.check:
        if PAGE.read_text(encoding="utf-8") != page:
            print(f"{PAGE} is not what the classes say; run: make docs")
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
