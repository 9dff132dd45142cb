"""One word for one thing: the field's terms, American spelling, and a public name in one module alone."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "babelclip"
SOURCES = sorted(SOURCE.rglob("*.py"))
TEXT = {".css", ".html", ".js", ".md", ".py", ".toml", ".yaml"}

GIVEN_UP = {
    *("Asked", "Bar", "Cohort", "Door", "Filling", "Gate", "Guest", "House", "ImpatientProtocol", "Journal"),
    *("KeptVectors", "KeyGate", "Kitchen", "Neighbour", "OpenGate", "OwnEncoder", "OwnNames", "Priced", "Ranks"),
    *("Reading", "Served", "Standing", "Tongue", "Turns", "Visit", "Wire"),
}
"""Classes that had names of our own; docs/concepts/glossary.md has the field's."""
GIVEN_UP_FILES = {
    *("asked", "bars", "begin", "beside", "class_moves", "codes", "cohort", "door", "doubles", "filling", "forms"),
    *("frames", "gate", "house", "journal", "kept", "kept_features", "likeness", "own_encoder", "own_names"),
    *("patience", "places", "priced", "reading", "segments", "served", "spread", "starting_points", "status"),
    *("still_images", "turns", "wire", "words"),
}

SHARED = {
    "export": "two verbs: of an index, and of a model",
    "app": "the command line's own, and those of its verbs that have verbs below them",
    "router": "one a file of routes",
}
"""Public names that several modules define, and why."""
VERBS = "cli/"
"""A verb is called as what it does, which has its own home: ``babelclip similarity`` calls ``similarity``."""

BRITISH = re.compile(
    r"(?i)\w*(?:normalis|quantis|recognis|optimis|initialis|tokenis|serialis|minimis|maximis|summaris|parametris|"
    r"regularis|colour|behaviour|neighbour|favour|honour|centred|artefact|labelled(?!by)|labelling|misspelt|spelt|licence|grey|catalogue)\w*"
)
NOT_OURS = {
    "docs/failures.md": "titles of photos",
    "recipes/small/training-sources.toml": "quotes licenses",
    "packages/babelclip-small/src/babelclip_small/model/README.md": "is under its folder's checksums",
    "packages/babelclip-small/src/babelclip_small/model/NOTICE": "the same",
    "tests/house/test_words.py": "plants them",
}
KEYS = re.compile(r"[\"'`]licence(?:_url)?[\"'`]|\d\d_grey\w*")
"""Keys of the records that photo packs come with, and names of fixtures."""


def tracked() -> Iterator[Path]:
    """Files of text that belong to the project."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\0"):
        if name and Path(name).suffix in TEXT and "fixtures" not in name and name not in NOT_OURS:
            yield ROOT / name


def british(text: str) -> list[str]:
    """Words in another spelling than the project's."""
    return BRITISH.findall(KEYS.sub("", text))


def test_spelling_is_american() -> None:
    found = {path.relative_to(ROOT).as_posix(): british(path.read_text(encoding="utf-8")) for path in tracked()}
    assert {name: words for name, words in found.items() if words} == {}
    assert british("colours of a neighbour") == ["colours", "neighbour"]


@cache
def defined() -> dict[str, tuple[str, ...]]:
    """Public name of a module's own -> the modules that define it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        names: set[str] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
        for name in names:
            if not name.startswith("_"):
                found[name].append(path.relative_to(SOURCE).as_posix())
    return {name: tuple(modules) for name, modules in found.items()}


def test_a_public_name_is_defined_in_one_module() -> None:
    """What a module alone uses is private to it, with an underscore, and may be called as in another."""
    several: dict[str, tuple[str, ...]] = {}
    for name, modules in defined().items():
        verbs = [module for module in modules if module.startswith(VERBS)]
        if len(verbs) > 1 or len(modules) - len(verbs) > 1:
            several[name] = modules
    assert {name: modules for name, modules in several.items() if name not in SHARED} == {}
    assert set(SHARED) <= set(several), "allowed, and no longer needed"


def test_names_of_our_own_do_not_come_back() -> None:
    assert sorted(GIVEN_UP & set(defined())) == []
    assert sorted({path.stem for path in SOURCES} & GIVEN_UP_FILES) == []
