"""One flag, one meaning, in every verb: read from what the command line itself accepts."""

from __future__ import annotations

import re
import types
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest
from cyclopts import App

from babelclip.cli.main import VERBS, app


class Flag(NamedTuple):
    """One option of one verb."""

    verb: str
    names: tuple[str, ...]
    type: str
    meaning: str
    default: object
    variables: tuple[str, ...]


DIFFERENT_TYPES = {
    ("--model", "serve"): "a server may answer with several models",
    ("--dim", "keys change"): "the word model takes a key's own width away",
    ("--top", "similarity"): "all matches are shown when it is left out",
    ("--keys", "serve"): "a server may be open to all",
}
"""Where an option of the same meaning takes more, or less, than elsewhere, and why."""
DIFFERENT_NAMES = {("--stdin", "search"): "a lone hyphen takes the next part of the query away"}
DIFFERENT_DEFAULTS = {
    ("--top", "search"): "ten photos fill a screen",
    ("--top", "classify"): "further labels of an image have hardly any chance left",
    ("--port", "ui"): "the page and the API run beside each other",
    ("--port", "serve"): "the page and the API run beside each other",
    ("--host", "serve"): "where it may listen depends on --mode",
    ("--requests-per-minute", "keys change"): "what is left out stays as it is",
    ("--tokens-per-minute", "keys change"): "what is left out stays as it is",
    ("--concurrency", "keys change"): "what is left out stays as it is",
}
DIFFERENT_VARIABLES = {
    ("--host", "serve"): "the page has no passwords, so a variable that opens the API must not open it",
}


def commands() -> Iterator[tuple[str, App]]:
    """Everything that runs, by the words that call it."""
    for verb in VERBS:
        below = app[verb]
        assert isinstance(below, App)
        if below.default_command is not None:
            yield verb, below
        yield from ((f"{verb} {name}", below[name]) for name in below if not name.startswith("-"))


def flags() -> Iterator[Flag]:
    for verb, command in commands():
        for argument in command.assemble_argument_collection(parse_docstring=True):
            if argument.show and argument.name.startswith("-"):
                names = tuple(name for name in argument.names if not re.match("--(no|empty)-", name))
                text = " ".join(str(argument.parameter.help or "").split())
                info = argument.field_info
                default = "required" if info.required else info.default
                variables = tuple(argument.parameter.env_var or ())
                yield Flag(verb, names or argument.names, kind_of(argument.hint), text, default, variables)


def kind_of(hint: Any) -> str:
    """A type's name without what only says whether, how often and in which words it may be given."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(sorted({kind_of(part) for part in inside if part is not type(None)}))
    if origin is Literal:
        return f"one of {sorted(map(str, inside))}"
    if origin in (list, tuple):
        return f"{kind_of(inside[0])}, several"
    return getattr(hint, "__name__", str(hint))


def first_sentence(meaning: str) -> str:
    return re.split(r"[:;.](?:\s|$)", meaning, maxsplit=1)[0]


FLAGS = list(flags())
NAMES = sorted({flag.names[0] for flag in FLAGS})


def usual(values: list[Any]) -> Any:
    """The value that most verbs have."""
    return max(values, key=lambda value: sum(value == other for other in values))


@pytest.mark.parametrize("name", NAMES)
def test_a_flag_means_the_same_in_every_verb(name: str) -> None:
    same = [flag for flag in FLAGS if name in flag.names]
    for exceptions, of in (
        (DIFFERENT_TYPES, lambda flag: flag.type),
        (DIFFERENT_NAMES, lambda flag: flag.names),
        (DIFFERENT_DEFAULTS, lambda flag: flag.default if flag.default not in ("required", None, ()) else "left out"),
        (DIFFERENT_VARIABLES, lambda flag: flag.variables),
        ({}, lambda flag: first_sentence(flag.meaning)),
    ):
        expected = usual([of(flag) for flag in same])
        for flag in same:
            if (name, flag.verb) not in exceptions:
                assert of(flag) == expected, f"babelclip {flag.verb} {name}: {flag.meaning}"


def test_a_meaning_has_one_flag() -> None:
    names = defaultdict(set)
    for flag in FLAGS:
        assert flag.meaning, f"babelclip {flag.verb} {flag.names[0]} says nothing"
        names[first_sentence(flag.meaning)].add(flag.names[0])
    assert {meaning: several for meaning, several in names.items() if len(several) > 1} == {}


def test_exceptions_are_in_use() -> None:
    there = {(name, flag.verb) for flag in FLAGS for name in flag.names}
    for exceptions in (DIFFERENT_TYPES, DIFFERENT_NAMES, DIFFERENT_DEFAULTS, DIFFERENT_VARIABLES):
        assert set(exceptions) <= there


def test_a_verbs_options_are_flags_or_positions_not_both() -> None:
    for verb, command in commands():
        for argument in command.assemble_argument_collection():
            both = argument.index is not None and argument.field_info.is_keyword
            assert not both, f"babelclip {verb}: {argument.name} can be given by its place and by its name"
