"""JSON of foreign origin is read in one way: ``decode.parse_json``, which harmful nesting does not crash."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "babelclip"
OTHERS = {
    "decode.py": "it is the way",
    "checkpoint/weights.py": "refuses names that are told twice, and deep nesting itself",
    "evaluate/results.py": "reads back what it has just written",
    "serve/guarded_route.py": "its structure is bounded before it is parsed",
}
"""Files that read JSON in another way, and why."""


def files_with(pattern: str) -> set[str]:
    files = SOURCE.rglob("*.py")
    return {file.relative_to(SOURCE).as_posix() for file in files if re.search(pattern, file.read_text("utf-8"))}


def test_json_is_read_in_one_way() -> None:
    assert files_with(r"\bjson\.loads?\(") == set(OTHERS)


def test_toml_is_read_in_one_way() -> None:
    assert files_with("tomllib") == {"decode.py"}
