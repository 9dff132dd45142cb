"""``babelclip search``: find photos by a text in any language, by an image, or by both."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from babelclip.atomic_write import write_text
from babelclip.cli.filters import FilterOptions, check_on_index
from babelclip.cli.options import TOP, IndexOption, JsonOption, ModelOptions, SheetOption
from babelclip.cli.plain_output import on_one_line, say

if TYPE_CHECKING:
    from babelclip.search.index import Hit, Index
    from babelclip.search.query import Query

NOT_SHOWN = frozenset({"path", "size", "mtime_ns", "digest", "parts", "name"})
"""Metadata that only the index itself needs."""


def search(
    query: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    index: IndexOption = None,
    top: Annotated[int, TOP] = 10,
    only: FilterOptions = FilterOptions(),
    stdin: bool = False,
    paths: bool = False,
    null: Annotated[bool, Parameter(name=["-0", "--null"])] = False,
    html: SheetOption = None,
    correct_gap: Annotated[bool, Parameter(negative="--no-gap-correction")] = True,
    model: ModelOptions = ModelOptions(),
    json_lines: JsonOption = False,
) -> int:
    """Find what is indexed: by a text in any language, by an image, or by both.

    babelclip search a dog on the beach

    babelclip search ./cat.jpg + "at night" - people

    Args:
        query: Words, and image files; + and - between parts add them and take them away, 2: before a part weighs it.
        top: Show so many, best first: hits.
        stdin: Read what is asked from stdin, one a line, in place of arguments: queries. The answers are JSON lines
            that name each one's query. Exit code 3 says that some could not be answered; their lines have an error in
            place of hits.
        paths: Only the paths, one a line.
        null: Only the paths, with a NUL after each, for xargs -0.
        correct_gap: Where photos and texts are found together, rank each by how far it stands out among its kind.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per hit, best first.
    """
    from babelclip.cli.usage_errors import refuse_flags
    from babelclip.errors import ConfigError
    from babelclip.search.fields import KINDS
    from babelclip.search.index import Index
    from babelclip.search.open_store import index_url
    from babelclip.search.query import Query

    refuse_flags(query or [], "search")
    url = index_url(index)
    condition = only.condition()
    if stdin == bool(query):
        raise ConfigError("name what to search for, or give --stdin and one query a line there")
    asked = [] if stdin else [Query.parse(query or [])]
    with Index.open(url, model.open()) as opened:
        check_on_index(opened, condition, only.inside, only.kind)
        find = partial(opened.search, k=top, where=condition, kinds=only.kind or KINDS, correct_gap=correct_gap)
        if stdin:
            return answer_lines(find)
        hits = find(asked[0])
        if html is not None:
            write_sheet(opened, " ".join(query or []), [hits], html)
        _show(opened, hits, "null" if null else "paths" if paths else "json" if json_lines else "table")
    return 0


def answer_lines(find: Callable[[Query], Sequence[Hit]]) -> int:
    """A JSON line for each query on stdin; one that cannot be answered has an ``error`` in it and stops no other."""
    from babelclip.cli.main import DONE, PARTLY
    from babelclip.errors import ConfigError, InputError
    from babelclip.search.query import Query

    failed = 0
    for line in filter(None, map(str.strip, sys.stdin)):
        try:
            answer: dict[str, Any] = {"query": line, "hits": [as_row(hit) for hit in find(Query.parse(line.split()))]}
        except (InputError, ConfigError) as error:
            failed += 1
            answer = {"query": line, "error": str(error)}
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    if failed:
        say(f"{failed:,} queries could not be answered")
    return PARTLY if failed else DONE


def as_row(hit: Hit) -> dict[str, Any]:
    """A hit as data."""
    row: dict[str, Any] = {"rank": hit.rank, "path": hit.path, "score": round(hit.score, 6), "kind": hit.kind}
    if hit.chance is not None:
        row["chance"] = round(hit.chance, 4)
    return row | {name: value for name, value in hit.metadata.items() if name not in NOT_SHOWN}


def _show(index: Index, hits: Sequence[Hit], form: Literal["null", "paths", "json", "table"]) -> None:
    """Hits on stdout, best first."""
    from babelclip.search.walk import exact_path

    if form in ("null", "paths"):
        end = b"\0" if form == "null" else b"\n"
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(exact_path(hit.metadata)) + end for hit in hits))
        sys.stdout.buffer.flush()
        return
    for hit in hits:
        if form == "json":
            print(json.dumps(as_row(hit), ensure_ascii=False))
        else:
            page = f"  page {hit.metadata['page']}" if "page" in hit.metadata else ""
            text = f"  {str(hit.metadata['text'])[:60]!r}" if hit.kind == "text" else ""
            chance = "" if hit.chance is None else f"{hit.chance:4.0%}"
            print(f"{hit.rank:3}  {hit.score:6.3f}  {chance:4}  {on_one_line(hit.path)}{page}{text}")
    if not hits:
        empty = "the index is empty: babelclip index FOLDER fills it" if not index.count() else "nothing was found"
        say(empty)


def write_sheet(index: Index, title: str, groups: Sequence[Sequence[Hit]], path: Path) -> None:
    """The contact sheet."""
    from babelclip.search.contact_sheet import render_sheet

    note = index.model()
    facts = "" if note is None else f"{index.count():,} indexed with {note.model}"
    write_text(path, render_sheet(title, groups, facts))
    say(f"contact sheet: {path.resolve()}")
