"""Every result file tells which model it measured, and a reader can find out which one that is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.folder import read_folder

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_fingerprints_are_known(path: Path) -> None:
    """The shipped model's, or one that docs/model-folder.md explains."""
    explained = (ROOT / "docs" / "model-folder.md").read_text(encoding="utf-8").split("## The fingerprint")[1]
    known = {read_folder(bundled_folder()).fingerprint(), *re.findall(r"^\| `([0-9a-f]{32})`", explained, re.MULTILINE)}
    found = set(re.findall(r'"fingerprint": "([^"]*)"', path.read_text(encoding="utf-8")))
    assert found <= known, f"{path.name} measured {sorted(found - known)}, which nothing explains"


def test_the_table_names_the_shipped_model() -> None:
    explained = (ROOT / "docs" / "model-folder.md").read_text(encoding="utf-8")
    assert f"`{read_folder(bundled_folder()).fingerprint()}`" in explained
