"""Things that a reader relies on: names, sizes of files, the version, documents that are current."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import babelclip
from babelclip import errors
from babelclip.version import __version__

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PUBLIC = {
    *("Encoder", "Encodes", "ImageLimits", "RemoteEncoder", "StreamItem"),
    *("Eq", "Filter", "Hit", "In", "Index", "Prefix", "Query", "Range", "Report", "Wanted"),
    *("__version__", "load", "quantize", "similarity"),
}


def test_public_names() -> None:
    own = [value for value in vars(errors).values() if getattr(value, "__module__", "") == errors.__name__]
    ours = {value.__name__ for value in own}
    assert set(babelclip.__all__) == PUBLIC | ours
    for name in babelclip.__all__:
        assert getattr(babelclip, name) is not None


@pytest.mark.parametrize("path", [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name)
def test_examples_need_public_names_alone(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.Import):
                assert not [each.name for each in node.names if each.name.startswith("babelclip.")], block
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "babelclip":
                assert node.module == "babelclip", block
                assert {each.name for each in node.names} <= set(babelclip.__all__), block
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "babelclip":
                assert node.attr in babelclip.__all__, block


def test_every_error_is_drawn_in_a_tree() -> None:
    """In errors.py, or in the tree of the room that alone raises and catches it."""
    bases: dict[str, set[str]] = {"TruncationWarning": set()}
    drawn = ""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        drawn += (ast.get_docstring(tree) or "") if path.stem == "errors" else ""
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {each.id for each in node.bases if isinstance(each, ast.Name)}

    def is_ours(name: str) -> bool:
        return name == "BabelclipError" or any(map(is_ours, bases.get(name, set())))

    missing = [name for name in bases if is_ours(name) and not re.search(rf"\b{name}\b", drawn)]
    assert missing == []


def test_version_is_the_newest_release_in_the_changelog() -> None:
    releases = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases, "CHANGELOG.md names no release"
    assert releases[0] == __version__ == babelclip.__version__


def test_the_changelog_is_kept_as_it_says() -> None:
    """Keep a Changelog: what is unreleased comes first, versions are dated, the newest first, changes by kind."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (20\d\d-\d\d-\d\d)", version) for version in versions]
    assert all(dates), versions
    assert [found[1] for found in dates if found] == sorted((found[1] for found in dates if found), reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_held_in_mind(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 350, f"{path.name} has {len(lines)} lines; split it by ideas"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_say_what_they_are_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8").strip()
    assert not text or text.startswith('"""'), f"{path.name} has no docstring"
    assert path.stem not in {"utils", "helpers", "common", "misc", "manager", "handler", "base", "new"}


@pytest.mark.parametrize(
    "tool", ["render_reference.py", "render_python_reference.py", "render_recipe_keys.py", "render_tables.py"]
)
def test_documents_are_current(tool: str) -> None:
    """Pages of references say what the code says, tables what result files say; `make docs` writes them."""
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / tool, "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_both_readmes_have_the_same_sections_and_numbers() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert len(re.findall(r"^#+ ", english, re.MULTILINE)) == len(re.findall(r"^#+ ", chinese, re.MULTILINE))
    fences = re.compile(r"```(?:python|console|bash)\n(.*?)```", re.DOTALL)
    without_comments = [[re.sub(r"\s*#.*", "", block) for block in fences.findall(text)] for text in (english, chinese)]
    assert without_comments[0] == without_comments[1], "the two READMEs show different commands"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_three_lines_lead_from_a_clone_to_a_search(name: str) -> None:
    blocks = re.findall(r"```console\n(git clone .*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    clone, index, search = blocks[0].splitlines()
    assert clone.endswith(" && make core")
    for line, verb in ((index, "index"), (search, "search")):  # tests/journeys/test_docs.py runs both
        assert line.startswith(f".venv-core/bin/babelclip {verb} ")


def test_readme_tree_matches_the_tree() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    named = set(re.findall(r"^(?:\|   )?[|`]-- (\w+)/", tree, re.MULTILINE))
    ours = {path.name for path in (ROOT / "src" / "babelclip").iterdir() if (path / "__init__.py").is_file()}
    top = {"docs", "lab", "recipes", "src", "tests", "tools"}
    assert named >= ours | top, f"not in the README's tree: {sorted((ours | top) - named)}"
    for name in named:
        assert (ROOT / name).is_dir() or (ROOT / "src" / "babelclip" / name).is_dir(), f"the README names {name}/"


def test_constraints_have_no_addresses_and_cover_what_we_declare() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins)
    pinned = {pin.split("==")[0] for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[<>=\[; ]", line)[0].lower() for line in declared} - {"babelclip"}
    assert names <= pinned, f"not pinned: {sorted(names - pinned)}"


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "PIL", "onnxruntime", "torch", "tokenizers", "safetensors", "huggingface_hub", "pyarrow")
    script = (
        "import sys, babelclip; from babelclip.cli.main import run; code = run(['--help']);"
        f"print(code, [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "0 []"
    assert "embed" in result.stdout


SHORT = 40
"""Lines under which a file has to say why it is one."""
HAS_NOT_SAID: tuple[str, ...] = ()
"""Rooms whose short files have not said it yet."""


def short_and_silent(path: Path, text: str) -> bool:
    """Whether a file is short and does not say why it stands alone."""
    if path.name == "__init__.py" or len(text.splitlines()) >= SHORT:
        return False
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return re.search(r"\b[Aa] file of its own,? because\b", " ".join(docstring.split())) is None


def test_a_short_file_says_why_it_stands_alone() -> None:
    """Else it belongs to its only caller."""
    silent = [
        name
        for path in SOURCES
        if short_and_silent(path, path.read_text(encoding="utf-8"))
        and not (name := path.relative_to(ROOT / "src" / "babelclip").as_posix()).startswith(HAS_NOT_SAID)
    ]
    assert silent == []
    assert short_and_silent(Path("planted.py"), '"""A file."""\n')
    assert not short_and_silent(
        Path("planted.py"), '"""A file.\n\nA file of its own, because two\nrooms share it.\n"""\n'
    )
