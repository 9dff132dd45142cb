"""Whatever the project cites can be looked up in it: files, headings, anchors."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = {".md", ".py", ".toml", ".yaml", ".yml", ".js", ".css", ".cfg", ".txt", "Makefile", "Dockerfile"}
QUOTED = {"lab/LOG.md", "CHANGELOG.md"}
"""History: it names files as they were called on the day, so that they exist is not asked of it."""

CITED = re.compile(r"(?<![\w/.-])((?:docs|lab)/[\w./-]+\.md)(?:#([\w-]+))?")
"""A page of the project in running text or in a docstring, from the project's root."""
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
FILE = re.compile(r"(?<![\w/.<{-])((?:src|tests|tools|benchmarks|recipes|examples|deploy)/[\w./-]+\.\w{2,5})\b(?![*{])")
INSIDE = re.compile(r"`((?:\w+/)*\w+\.py)`")
"""A file of the package, as docs/concepts names it."""
ELSEWHERE = re.compile(r"\bFACTS (?:\d|section)|\bEVALUATION \d|\bTRAINING \d|\bHOUSE\b|\bissues? \d+|\.\./shared\b")
"""Documents that the project does not contain, and numbers of a tracker that its readers do not see."""
WRITTEN_BY_A_RUN = re.compile(r"/(?:__pycache__|runs|dist)/")


def tracked(root: Path = ROOT) -> Iterator[Path]:
    """Files of text that belong to the project."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\0"):
        path = root / name
        if path.is_file() and (path.suffix in READ or path.name in READ) and "fixtures" not in path.parts:
            yield path


@cache
def anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of a page's headings, and anchors that are written out."""
    found: dict[str, int] = {}
    slugs = set(re.findall(r'<a (?:id|name)="([\w-]+)"', page.read_text(encoding="utf-8")))
    in_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        in_code ^= line.startswith("```")
        if in_code or not (heading := re.match(r"#{1,6} (.+)", line)):
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        repeated = found.get(slug, 0)
        found[slug] = repeated + 1
        slugs.add(f"{slug}-{repeated}" if repeated else slug)
    return frozenset(slugs)


def broken(path: Path, text: str) -> list[str]:
    """What this file, with this text, cites and nobody can look up."""
    wrong = [f"{found[0]!r}: a document that is not in the project" for found in ELSEWHERE.finditer(text)]
    cited = [(ROOT / page, anchor) for page, anchor in CITED.findall(text)]
    if path.suffix == ".md":
        cited += [(path.parent / target if target else path, anchor) for target, anchor in LINK.findall(text)]
    if str(path.relative_to(ROOT)) not in QUOTED:
        cited += [(ROOT / name, "") for name in FILE.findall(text) if not WRITTEN_BY_A_RUN.search(name)]
    if path.is_relative_to(ROOT / "docs" / "concepts"):
        cited += [
            (ROOT / "src" / "babelclip" / name, "") for name in INSIDE.findall(text) if not (ROOT / name).exists()
        ]
    for page, anchor in cited:
        if not page.exists():
            wrong.append(f"{page}: there is no such file")
        elif anchor and page.suffix == ".md" and anchor not in anchors(page):
            wrong.append(f"{page}#{anchor}: there is no such heading")
    return wrong


def test_every_reference_can_be_looked_up() -> None:
    here = Path(__file__).name  # it plants what is wrong
    problems = [
        f"{path.relative_to(ROOT)} cites {what}"
        for path in tracked()
        if path.name != here
        for what in broken(path, path.read_text(encoding="utf-8"))
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("as FACTS section 2 says", "not in the project"),
        ("(issue 5)", "not in the project"),
        ("see docs/reference/no-such-page.md", "no such file"),
        ("see docs/reference/published-model.md#no-such-heading", "no such heading"),
        ("see [this](../reference/no-such-page.md)", "no such file"),
        ("as in src/babelclip/no_such_file.py", "no such file"),
        ("from there to `serve/no_such_file.py`", "no such file"),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(line: str, said: str) -> None:
    page = ROOT / "docs" / "concepts" / "planted.md"
    assert [what for what in broken(page, f"# A page\n\n{line}\n") if said in what]
