"""Sentences of the documents that promise a property of the whole project, each held against the code."""

from __future__ import annotations

import ast
import builtins
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import babelclip.errors
from babelclip.bundled import bundled_folder
from babelclip.checkpoint.checksums import CHECKSUMS, DERIVED
from babelclip.score_normalization import DIRECTIONS
from babelclip.search.quantized_codes import MAX_NUMBERS
from babelclip.search.read_file import PIECE
from babelclip.search.stores.sqlite_scan import RESCORED
from babelclip.search.watching import SHARE
from babelclip.serve.inference.worker import Patience
from babelclip.serve.pricing import TILE_SIDE, TOKENS_PER_TILE
from babelclip.serve.settings import ServerSettings
from babelclip.serve.shutdown import LAST_SECONDS
from babelclip.train.data.sources import DataSource
from babelclip.train.recipe import AnyObjective, AnyPostStep

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "babelclip"
SOURCES = sorted(SOURCE.rglob("*.py"))
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
READMES = ("README.md", "README.zh-CN.md")

# Modules that reach the network or listen on it, and the files that may import them.
NETWORK = {
    "aiohttp", "asyncio.open_connection", "ftplib", "http.client", "httpcore", "httpx", "huggingface_hub", "requests",
    "smtplib", "socket", "ssl", "subprocess.run", "urllib.request", "urllib3", "websockets",
}  # fmt: skip
MAY_REACH_OUT = {
    "checkpoint/fetch.py": "models that a user names",
    "checkpoint/resumable_download.py": "the large files of these models",
    "base_model/package.py": "the package of babelclip-base, with pip, when a user pulls it",
    "serve/images/fetch_image.py": "image URLs that a server is told to fetch",
    "serve/images/checked_network.py": "the connections for them",
    "remote/http_transport.py": "a server that a user names as the model",
    "evaluate/results.py": "git, for the commit of a checkout; no request",
    "cli/model.py": "which models are in the hub's cache; no request",
    "cli/doctor.py": "where the hub's cache is; no request",
    "serve/inference/ipc.py": "a socket between two processes of this machine",
    "serve/inference/worker.py": "a socket between two processes of this machine",
    "serve/inference/worker_process.py": "a socket between two processes of this machine",
    "serve/run.py": "listens",
    "serve/shutdown.py": "the socket that serve/run.py listens at",
    "serve/listening.py": "the socket for that",
    "cross_site.py": "what this machine is called; no request",
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules, and names of modules, that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def reaches_out(text: str) -> set[str]:
    """What of ``NETWORK`` this source imports or names."""
    names = set(imported(ast.parse(text)))
    return {known for known in NETWORK if any(name == known or name.startswith(f"{known}.") for name in names)}


def test_the_network_is_reached_where_the_documents_say() -> None:
    """README, CONTRIBUTING and docs/guides/search.md ("nothing leaves the machine") rest on this list."""
    found = {path.relative_to(SOURCE).as_posix() for path in SOURCES if reaches_out(path.read_text(encoding="utf-8"))}
    assert found == set(MAY_REACH_OUT)


@pytest.mark.parametrize("line", ["import httpx", "from urllib.request import urlopen", "import socket as s"])
def test_another_way_out_is_found(line: str) -> None:
    assert reaches_out(line)


def error_classes(trees: Iterator[ast.AST]) -> dict[str, set[str]]:
    """Name -> bases of every class that is an exception."""
    bases: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {ast.unparse(base).split(".")[-1] for base in node.bases}
    builtin = {name for name in dir(builtins) if name.endswith(("Error", "Exception"))} | {"Exception"}

    def is_error(name: str) -> bool:
        return name in builtin or any(is_error(base) for base in bases.get(name, set()) - {name})

    return {name: of for name, of in bases.items() if is_error(name)}


def outside_the_tree(classes: dict[str, set[str]]) -> list[str]:
    """Public errors that do not come from ``BabelclipError``."""

    def belongs(name: str) -> bool:
        return name == "BabelclipError" or any(belongs(base) for base in classes.get(name, set()))

    return sorted(name for name in classes if not name.startswith("_") and not belongs(name))


def test_every_public_error_is_a_babelclip_error() -> None:
    classes = error_classes(ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES)
    assert len(classes) > 20
    assert outside_the_tree(classes) == []
    assert outside_the_tree({**classes, "Planted": {"RuntimeError"}}) == ["Planted"]


def test_the_tree_of_errors_names_all_that_stand_below_it() -> None:
    """Those that a caller of the library can meet; a server's refusals are drawn where they are defined."""
    drawn = set(re.findall(r"(?:\|--|`--)\s+(\w+)", babelclip.errors.__doc__ or ""))
    own = {
        name
        for name, value in vars(babelclip.errors).items()
        if isinstance(value, type) and issubclass(value, babelclip.errors.BabelclipError)
    }
    assert own - {"BabelclipError"} <= drawn


def test_readmes_name_the_packages_of_the_core_and_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[<>=\[; ]", line)[0] for line in project["dependencies"]}
    extras = set(project["optional-dependencies"]) - {"test"}
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert {package for package in core if package not in text} == set(), name
        assert {extra for extra in extras if f".[{extra}]" not in text} == set(), name


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_is_dated(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    parts = [content] if "date" in content else list(content.values())
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d.*", part["date"]) for part in parts), path.name


def test_checksums_list_every_file_but_graphs() -> None:
    """docs/model-folder.md says so, and verify relies on it."""
    folder = bundled_folder()
    listed = set(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["sha256"])
    there = {file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")}
    assert listed == {name for name in there if name != CHECKSUMS and not name.endswith(DERIVED)}


IN_WORDS = {3: "three", 16: "sixteen", 20: "twenty", 50: "fifty", 1000: "a thousand"}
DEMO = SOURCE / "demo"
QUERIES = json.loads((DEMO / "queries.json").read_text(encoding="utf-8"))["queries"]
PATIENCE = Patience()
LIMITS, DRAIN = ServerSettings().image_limits, ServerSettings().drain_seconds
STATED = [
    ("README.md", f"embeds {IN_WORDS[len(list((DEMO / 'photos').glob('*.webp')))]} photos"),
    ("README.md", f"answers queries in {IN_WORDS[len({query['language'] for query in QUERIES})]} languages"),
    (
        "docs/guides/serve.md",
        f"up to {LIMITS.max_bytes // 2**20} MiB and {LIMITS.max_pixels // 10**6} megapixels",
    ),
    ("docs/guides/serve.md", f"ends the server within {DRAIN:g} seconds (`--drain-seconds`)"),
    ("docs/guides/serve.md", f"Until {LAST_SECONDS:g} seconds before that, what was accepted is finished"),
    ("docs/guides/serve.md", f"{IN_WORDS[PATIENCE.pings]} pings in a row have no answer"),
    ("docs/guides/serve.md", f"(each waits {PATIENCE.ping_seconds:g} seconds)"),
    ("docs/guides/serve.md", f"not finished a call after {2 * ServerSettings().answer_seconds / 60:g} minutes"),
    ("docs/guides/serve.md", f"without an answer for {ServerSettings().answer_seconds / 60:g} minutes"),
    ("docs/guides/serve.md", f"ready in {PATIENCE.start_seconds:g} seconds (or ten times what the first start took"),
    ("docs/guides/serve.md", f"an image {TOKENS_PER_TILE:,} tokens for each tile of {TILE_SIDE} x {TILE_SIDE} pixels"),
    ("docs/reference/http.md", f"an image costs {TOKENS_PER_TILE:,} tokens"),
    ("docs/guides/search.md", f"two bits for each of the first {MAX_NUMBERS} numbers"),
    ("docs/guides/search.md", f"picks {IN_WORDS[RESCORED]} candidates"),
    ("docs/guides/search.md", f"pieces of about {IN_WORDS[PIECE]} characters"),
    ("docs/guides/search.md", f"rests {IN_WORDS[SHARE]} times as long"),
    ("docs/model-folder.md", f"the {IN_WORDS[DIRECTIONS]} strongest directions"),
]
"""A document, and a limit or a size that it states, spelled with the code's own number."""


@pytest.mark.parametrize(("document", "sentence"), STATED, ids=[sentence for _, sentence in STATED])
def test_documents_state_the_limits_of_the_code(document: str, sentence: str) -> None:
    text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
    assert sentence in text


def kinds(union: object) -> list[str]:
    """By which a recipe chooses one of some tables."""
    return [get_args(get_type_hints(one)["kind"])[0] for one in get_args(union)]


def test_the_glossary_defines_what_a_recipe_can_ask_for() -> None:
    text = (ROOT / "docs" / "concepts" / "glossary.md").read_text(encoding="utf-8")
    asked = [*kinds(AnyObjective), *kinds(AnyPostStep), *get_args(get_type_hints(DataSource)["kind"])]
    assert len(asked) > 15
    assert [kind for kind in asked if kind not in text] == []
