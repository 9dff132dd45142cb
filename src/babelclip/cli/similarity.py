"""``babelclip similarity``: which of these is closest to that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from babelclip.cli.options import TOP, ErrorsToOption, JsonOption, KindOptions, ModelOptions
from babelclip.cli.plain_output import on_one_line

if TYPE_CHECKING:
    from babelclip.cli.items import InputItem


def similarity(
    items: list[str] | None = None,
    /,
    *,
    others: Annotated[list[str] | None, Parameter(name="--with", consume_multiple=True)] = None,
    top: Annotated[int | None, TOP] = None,
    errors_to: ErrorsToOption = None,
    kinds: KindOptions = KindOptions(),
    model: ModelOptions = ModelOptions(),
    json_lines: JsonOption = False,
) -> int:
    """Compare texts and images with each other: cosine similarity, best first.

    Search in a folder: babelclip similarity "a dog on the beach" --with ~/Photos/*.jpg --top 5

    Args:
        items: Texts and image files.
        others: What to compare them with; each other when left out.
        top: Show so many, best first: matches of each item; all of them when left out.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per item.
    """
    from babelclip import similarity as cosine
    from babelclip.cli.encode import FailureList, encode_all
    from babelclip.cli.items import from_arguments
    from babelclip.errors import ConfigError

    left = from_arguments(items or [], kinds.forced)
    right = from_arguments(others or [], kinds.forced)
    if not left or len(left) + len(right) < 2:
        raise ConfigError('name what to compare, for instance: babelclip similarity "two dogs" --with a.jpg b.jpg')
    encoder = model.open()
    with FailureList(errors_to) as failures:
        left_good, left_vectors = encode_all(encoder, left, failures)
        right_good, right_vectors = encode_all(encoder, right, failures) if right else (left_good, left_vectors)
        if not left_good or not right_good:
            return failures.exit_code(0)
    for item, row in zip(left_good, cosine(left_vectors, right_vectors), strict=True):
        itself = item.index if not right else None
        matches = [(other, float(score)) for other, score in zip(right_good, row, strict=True) if other.index != itself]
        matches.sort(key=lambda match: -match[1])
        _show(item, matches[:top], json_lines)
    return failures.exit_code(len(left_good))


def _show(item: InputItem, matches: list[tuple[InputItem, float]], json_lines: bool) -> None:
    """One item and its matches, best first."""
    if json_lines:
        rows: list[dict[str, Any]] = [
            {"index": other.index, "kind": other.kind, "input": other.shown, "score": round(score, 6)}
            for other, score in matches
        ]
        line = {"index": item.index, "kind": item.kind, "input": item.shown, "matches": rows}
        print(json.dumps(line, ensure_ascii=False))
        return
    print(on_one_line(item.shown))
    for other, score in matches:
        print(f"  {score:7.4f}  {on_one_line(other.shown)}")
