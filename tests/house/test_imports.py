"""Who may know whom: the walls between the rooms, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "babelclip"

# Room -> what of babelclip it may import: a room ("prepare") or one module of it ("runtime.choose").
# A room may always import itself; what OPEN_TO_ALL names is open to all rooms but where a line says otherwise.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "no_telemetry": set(),
    "atomic_write": set(),
    "decode": {"errors"},
    "optional_dependency": {"errors"},
    "html": set(),
    "progress": set(),
    "arrays": {"errors"},
    "vectors": {"errors", "arrays"},
    "score_normalization": {"data_uri"},
    "score_calibration": {"score_normalization", "vectors"},
    "cross_site": set(),
    "data_uri": set(),
    "prepare": {"data_uri"},
    "towers": set(),
    "user_folders": set(),
    "checkpoint": {"towers", "prepare.config", "user_folders"},
    "runtime": {"checkpoint", "towers", "user_folders"},
    "base_model": {"checkpoint", "prepare", "runtime", "towers.config"},
    "encodes": {"prepare.open_image", "score_calibration"},
    "item_encoder": {"encodes", "prepare", "progress"},
    "encoder": {"bundled", "item_encoder", "prepare", "runtime", "checkpoint", "vectors", "score_calibration"},
    "bundled": set(),
    "tar_samples": {"prepare.kinds"},
    "vector_table": set(),
    "evaluate": {"encodes", "encoder", "tar_samples", "vectors"},
    "train": {
        "towers",
        "prepare",
        "checkpoint",
        "evaluate",
        "vectors",
        "encodes",
        "encoder",
        "progress",
        "score_calibration",
        "runtime.runtime",
        "tar_samples",
    },
    "demo": {"data_uri", "encodes", "encoder", "html", "vectors"},
    "remote": {"data_uri", "item_encoder", "prepare", "vectors"},
    "serve": {
        "checkpoint",
        "cross_site",
        "data_uri",
        "encodes",
        "encoder",
        "item_encoder",
        "prepare",
        "score_calibration",
        "runtime.choose",
        "vectors",
    },
    "explain": {"encodes"},
    "search": {
        "score_normalization",
        "data_uri",
        "encodes",
        "html",
        "prepare",
        "score_calibration",
        "user_folders",
        "vectors",
        "vector_table",
    },
    "web": {
        "cross_site",
        "data_uri",
        "encodes",
        "explain",
        "html",
        "prepare",
        "search",
        "serve.access_log",
        "serve.bounded_connection",
        "serve.http_methods",
        "serve.listening",
        "serve.metrics",
        "serve.pricing",
        "serve.repeated_lines",
        "serve.request_limits",
        "serve.settings",
        "serve.shutdown",
        "serve.sub_path",
        "vectors",
    },
    "__init__": {
        "no_telemetry",
        "encodes",
        "encoder",
        "vectors",
        "bundled",
        "search.index",
        "search.query",
        "remote.http_transport",
        "remote.remote_encoder",
    },
    "__main__": {"cli"},
}
OPEN_TO_ALL = {"arrays", "atomic_write", "decode", "errors", "optional_dependency", "version"}

# Modules (or whole rooms) that may import torch when they are imported.
TORCH_ROOMS = ("towers", "train")
TORCH_MODULES = {
    "checkpoint/convert.py",
    "runtime/choose.py",  # inside the function that has chosen torch
    "runtime/export.py",
    "runtime/graph.py",
    "runtime/torch_runtime.py",
}

# Inside the trainer: a part -> the other parts that it may import. Whoever runs stages may import all of them.
TRAINER_PARTS: dict[str, set[str]] = {
    "engine": set(),
    "data": set(),
    "objectives": {"engine", "data", "stage_towers", "linear_map"},
    "post_steps": {"data", "objectives", "stage_towers"},
    "stage_towers": {"engine", "data", "frozen_outputs", "tower_plan"},
    "tower_plan": {"engine"},
    "frozen_outputs": set(),
    "linear_map": set(),
}

FUNCTION_LEVEL_IMPORTS = ("cli/", "runtime/choose.py", "search/open_store.py", "__init__.py")
# Optional parts that a setting chooses, imported where it has chosen them.
CHOSEN_PARTS = {
    ("no_telemetry.py", "logging"),  # everything waits for this module, and it hardly ever warns
    ("prepare/image_header.py", "pillow_heif"),
    ("search/optional_formats.py", "pypdfium2"),
    ("train/curve.py", "matplotlib"),
    ("vector_table.py", "pyarrow"),
    ("train/engine/run_log.py", "torch"),  # torch.utils.tensorboard needs a package of its own
}


def room_of(path: Path) -> str:
    """The room that a source file belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[str, ast.stmt, bool]]:
    """(module, statement, whether it runs when the file is imported) of every import; type checkers' are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, ast.stmt, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, child, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: imports are written in full"
                assert child.module is not None
                if child.module == "babelclip":
                    yield from ((f"babelclip.{alias.name}", child, at_import) for alias in child.names)
                else:
                    yield child.module, child, at_import
            else:
                inside_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, at_import and not inside_function)

    return walk(tree, True)


SOURCES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_import_only_what_they_may(path: Path) -> None:
    room = room_of(path)
    if room == "cli":  # every room's front door; private names are ruff's and the reader's business
        return
    allowed = MAY_IMPORT[room] | {room} | (OPEN_TO_ALL if room not in OPEN_TO_ALL else set())
    for module, statement, _ in imports_of(path):
        if not module.startswith("babelclip."):
            continue
        inside = module.removeprefix("babelclip.")
        welcome = any(inside == open_door or inside.startswith(f"{open_door}.") for open_door in allowed)
        assert welcome, f"{path.relative_to(SOURCE)}:{statement.lineno}: {room} must not import {inside}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_torch_stays_in_its_rooms(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    if name in TORCH_MODULES or (room_of(path) in TORCH_ROOMS and path.name not in ("config.py", "__init__.py")):
        return
    for module, statement, at_import in imports_of(path):
        where = f"{name}:{statement.lineno}"
        assert module.split(".")[0] != "torch", f"{where}: torch is imported outside its rooms"
        if at_import and module.startswith("babelclip.towers"):
            assert module == "babelclip.towers.config", (
                f"{where}: only the configurations of the towers are free of torch"
            )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_stand_at_the_top(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    if name.startswith(FUNCTION_LEVEL_IMPORTS):
        return
    for module, statement, at_import in imports_of(path):
        chosen = (name, module.split(".")[0]) in CHOSEN_PARTS
        assert at_import or chosen, f"{name}:{statement.lineno}: {module} is imported inside a function"


@pytest.mark.parametrize("path", sorted((SOURCE / "train").rglob("*.py")), ids=lambda path: path.name)
def test_parts_of_the_trainer_import_only_what_they_may(path: Path) -> None:
    """The engine knows no objective, the data know no engine."""
    part = path.relative_to(SOURCE / "train").parts[0].removesuffix(".py")
    if part not in TRAINER_PARTS:
        return
    for module, statement, _ in imports_of(path):
        if module.startswith("babelclip.train."):
            other = module.split(".")[2]
            assert other in TRAINER_PARTS[part] | {part}, f"{path.name}:{statement.lineno}: {part} imports {other}"


def test_every_room_has_its_rule() -> None:
    rooms = {room_of(path) for path in SOURCES} - {"cli"}
    assert rooms == set(MAY_IMPORT) & rooms, f"rooms without a rule: {rooms - set(MAY_IMPORT)}"
