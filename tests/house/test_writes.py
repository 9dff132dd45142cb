"""Files are written whole or not at all: nothing but ``babelclip.atomic_write`` creates one, read from the source.

What looks like writing is allowed on a sibling that ``atomic_path`` or ``atomic_folder`` gave, and where a line below
says why.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "babelclip"
SIBLINGS = {"atomic_path", "atomic_folder", "whole_folder"}
"""Context managers that give a path which nobody reads before it is complete."""
OWN_PATH = {"write_text", "write_bytes", "touch", "rename", "symlink_to", "hardlink_to"}
"""Methods of a path."""
TARGET_FIRST = {"np.save", "np.savez", "np.savez_compressed", "os.open"}
TARGET_SECOND = {"torch.save", "ir.save", "save_file", "os.replace", "os.rename"}
TARGET_SECOND |= {"shutil.copyfile", "shutil.copy", "shutil.copy2", "shutil.copytree", "shutil.move"}
OPENS = {"open", "os.fdopen", "gzip.open", "bz2.open", "lzma.open", "tarfile.open", "zipfile.ZipFile", "np.memmap"}
"""Write where a mode says so, as the method ``open`` of a path does."""
MODE = re.compile(r"(?=.*[wax+])[rwaxbt+]{1,3}(?:[:|]\w*)?")

ALLOWED = {
    ("atomic_write.py", "atomic_path"): "the one way itself",
    ("atomic_write.py", "_swap"): "the one way itself",
    ("atomic_write.py", "_sync_file"): "the one way itself",
    ("atomic_write.py", "_sync_folder"): "opens a folder to make its names durable",
    ("checkpoint/resumable_download.py", "_receive"): "grows from one run to the next, under a name of its own",
    ("checkpoint/resumable_download.py", "_append"): "grows from one run to the next, under a name of its own",
    ("checkpoint/resumable_download.py", "download_large"): "takes its name when its checksum is right",
    ("cli/main.py", "run"): "what follows a closed pipe goes to the null device",
    ("runtime/graph.py", "write_graph"): "into a temporary folder, to be compared with torch first",
    ("serve/access/key_schema.py", "_touch"): "an empty database that its owner alone can read; SQLite writes it",
    ("train/engine/run_log.py", "RunLog.write"): "a log: one line a step",
    ("vector_table.py", "ArraysWriter.finish"): "into the stream that open_table gave",
}
"""(file, function) -> why it writes in another way."""


def writes(path: Path) -> Iterator[tuple[str, int, str]]:
    """(function, line, call) of everything in a file that creates, replaces or changes files."""
    yield from _writes(ast.parse(path.read_text(encoding="utf-8")), "module", set())


def _writes(node: ast.AST, where: str, siblings: set[str]) -> Iterator[tuple[str, int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = child.name if where == "module" else f"{where}.{child.name}"
            yield from _writes(child, name, siblings | set(_siblings(child)))
            continue
        if isinstance(child, ast.Call):
            target = _target(child)
            if target is not None and _root(target) not in siblings:
                yield where, child.lineno, ast.unparse(child)
        yield from _writes(child, where, siblings)


def _siblings(function: ast.AST) -> Iterator[str]:
    """Names that a ``with``, or an exit stack, binds to a sibling."""
    for node in ast.walk(function):
        if isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Call):
            called = ast.unparse(node.context_expr.func).rpartition(".")[2]
            if called in SIBLINGS and isinstance(node.optional_vars, ast.Name):
                yield node.optional_vars.id
        if isinstance(node, ast.Assign) and re.search(
            r"\.enter_context\((atomic_path|atomic_folder)\(", ast.unparse(node)
        ):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _target(call: ast.Call) -> ast.AST | None:
    """What a call writes to; None where it writes nothing."""
    name = ast.unparse(call.func)
    if name in TARGET_FIRST:
        return call.args[0]
    if name in TARGET_SECOND:
        return call.args[1]
    if name in OPENS:
        return call.args[0] if _has_mode(call, 1) else None
    if not isinstance(call.func, ast.Attribute):
        return None
    if call.func.attr in OWN_PATH or (call.func.attr == "replace" and len(call.args) == 1 and not call.keywords):
        return call.func.value
    return call.func.value if call.func.attr == "open" and _has_mode(call, 0) else None


def _has_mode(call: ast.Call, first: int) -> bool:
    """Whether a call's mode, among its arguments from the first on, writes, or is not known before it runs."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    if any(not isinstance(value, ast.Constant) for value in named):
        return True
    inside = [node for value in [*call.args[first:], *named] for node in ast.walk(value)]
    return any(isinstance(node, ast.Constant) and MODE.fullmatch(str(node.value)) for node in inside)


def _root(target: ast.AST) -> str | None:
    """``unfinished`` of ``unfinished / "config.json"``."""
    while isinstance(target, ast.BinOp | ast.Attribute | ast.Call):
        target = (
            target.left
            if isinstance(target, ast.BinOp)
            else target.value
            if isinstance(target, ast.Attribute)
            else target.func
        )
    return target.id if isinstance(target, ast.Name) else None


SOURCES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_else_writes_files(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    found = [(where, line, call) for where, line, call in writes(path) if (name, where) not in ALLOWED]
    assert not found, f"{name} writes files in another way than babelclip.atomic_write: {found}"


def test_every_exception_is_needed() -> None:
    needed = {(path.relative_to(SOURCE).as_posix(), where) for path in SOURCES for where, _, _ in writes(path)}
    assert set(ALLOWED) <= needed, f"no exceptions any more: {sorted(set(ALLOWED) - needed)}"


PLANTED = """
def f(path, unfinished):
    open(path, "w")
    open(path, mode="ab")
    path.open("w", encoding="utf-8")
    path.open("r+b")
    path.open("ab" if rest else "wb")
    gzip.open(path, "wt")
    os.fdopen(handle, "wb")
    path.write_text("")
    path.write_bytes(b"")
    (path / "a").write_text("")
    np.save(path, rows)
    np.savez(path, rows=rows)
    np.memmap(path, np.float16, mode=mode)
    torch.save(rows, path)
    shutil.copyfile(path, path)
    os.replace(path, path)
    path.rename(path)
    path.replace(path)
    with zipfile.ZipFile(path, "w"):
        with other(path) as unfinished:
            unfinished.write_text("")
"""
HARMLESS = """
def f(path, file):
    open("w")
    path.open("rb")
    path.open("r", encoding="utf-8")
    np.load(path)
    np.memmap(path, np.float16, mode="r")
    text.replace("a", "b")
    dataclasses.replace(row, id=1)
    with atomic_path(path) as unfinished, unfinished.open("w") as stream:
        np.save(unfinished, rows)
        torch.save(rows, unfinished)
        shutil.copyfile(path, unfinished)
        stream.write("")
    with whole_folder(path, overwrite=True) as temporary:
        (temporary / "a").write_text("")
"""


@pytest.mark.parametrize(("source", "number"), [(PLANTED, 20), (HARMLESS, 0)])
def test_writing_is_recognized(source: str, number: int, tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    file.write_text(source, encoding="utf-8")
    lines = [line for _, line, _ in writes(file)]
    assert len(lines) == number, lines
