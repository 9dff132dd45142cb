"""Measurements in documents come from result files, through tools/render_tables.py: none is typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN_BY_TOOLS = {
    "docs/failures.md",
    "docs/reference/cli.md",
    "docs/reference/recipes.md",
    "docs/reference/python.md",
}
HISTORY = {"CHANGELOG.md"}

UNIT = (
    r"(?:ms|s|min|milliseconds?|seconds?|minutes?|hours?|[kKMGT]i?B|megabytes?|gigabytes?|%|percent|points?|times|GFLOP)\b"
    r"|%|(?:images?|texts?|photos?|items?|requests?|queries|rows) (?:a|per) second|images/s|texts/s|秒|毫秒|分钟|倍|％"
)
FIGURE = re.compile(
    rf"(?<![\w.#/-])(\d[\d,.]*\s?(?:{UNIT}))|(R@\d+ (?:of |: ?)\d[\d.]*)|(?<![\w.])(0\.\d\d+)(?!\w|\.\d)"
)

# What stands in a document and is no measurement: document -> figure -> what it is.
ALLOWED: dict[str, dict[str, str]] = {
    "docs/guides/evaluate.md": {"95%": "a kind of interval"},
    "docs/guides/train.md": {"95%": "a kind of interval"},
    "docs/reference/evaluation.md": {"95%": "a kind of interval"},
    "docs/guides/published-weights.md": {"3.5 GB": "865 million numbers of four bytes"},
    "docs/guides/serve.md": dict.fromkeys(
        ("10 seconds", "2 minutes", "25 seconds", "3 seconds", "4 minutes", "60 seconds", "10 MiB"),
        "a limit, held by tests/house/test_promises.py",
    ),
    "docs/reference/published-model.md": {
        **dict.fromkeys(("0.444", "0.889"), "coordinates, computed"),
        **dict.fromkeys(("0.48145466", "0.4578275", "0.40821073"), "published constants"),
        **dict.fromkeys(("0.26862954", "0.26130258", "0.27577711"), "published constants"),
        **dict.fromkeys(("0.9999", "0.9994"), "of the reference, recorded with the goldens"),
        **dict.fromkeys(("0.546", "0.703"), "published by the model's makers"),
    },
}


def documents() -> list[Path]:
    """What people read, but for what tools write whole."""
    pages = [ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "deploy/README.md")]
    pages += sorted((ROOT / "docs").rglob("*.md"))
    return [page for page in pages if page.relative_to(ROOT).as_posix() not in WRITTEN_BY_TOOLS | HISTORY]


def typed_figures(text: str) -> list[str]:
    """Figures outside of code and of rendered tables."""
    text = re.sub(r"<!-- table:.*?<!-- /table -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    return [found[0].strip(" ,.") for found in FIGURE.finditer(text)]


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_measurement_is_typed(page: Path) -> None:
    known = ALLOWED.get(page.relative_to(ROOT).as_posix(), {})
    found = typed_figures(page.read_text(encoding="utf-8"))
    assert [figure for figure in found if figure not in known] == []
    assert [figure for figure in known if figure not in found] == [], "allowed, and no longer there"


@pytest.mark.parametrize(
    "line",
    ["It takes 52 ms.", "39 photos a second", "R@5 of 61.3", "a cosine of 0.993", "约 0.2 秒", "keeps 92.3% of it"],
)
def test_a_typed_measurement_is_found(line: str) -> None:
    assert typed_figures(f"# A page\n\n{line}\n")
    assert not typed_figures(f"# A page\n\n<!-- table: x | y.json -->\n{line}\n<!-- /table -->\n")
