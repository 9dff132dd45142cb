"""Where the exported graphs of a model lie, and whether they still belong to it.

An export is two files per place: ``text.onnx`` or ``image.onnx``, and ``onnx.json``, which says for each graph the
fingerprint of the model it was made from, its own checksum and how closely it agreed with torch. Graphs hold no
weights, they point into the model's safetensors files. Places, in the order they are looked at:

1. beside the weights, in the model folder;
2. ``<user cache>/exports/<fingerprint>``, for folders that cannot be written.

An export of another model is stale: it is named in messages and never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from babelclip.arrays import Vectors
from babelclip.atomic_write import write_bytes, write_json
from babelclip.checkpoint.checksums import sha256
from babelclip.checkpoint.folder import ModelFolder
from babelclip.decode import decode, encode, parse_json
from babelclip.errors import FolderError
from babelclip.runtime.check_vector import check_vector_of
from babelclip.user_folders import user_cache

Tower = Literal["text", "image"]

MANIFEST = "onnx.json"
FORMAT = 1
"""Version of the graphs' inputs, outputs and manifest. Graphs of another version are stale."""


@dataclass(frozen=True, slots=True)
class Export:
    """One graph that belongs to the weights of its folder."""

    tower: Tower
    graph: Path
    location: str  # in words: "beside the weights", "in the user's cache"


@dataclass(frozen=True, slots=True)
class Stale:
    """No usable graph, and why."""

    tower: Tower
    reason: str


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What the manifest says about one graph."""

    fingerprint: str  # of the model
    sha256: str  # of the graph file
    max_difference: float  # to torch, relative to the largest value where that is over 1
    min_cosine: float  # to torch
    made_with: str


@dataclass(frozen=True, slots=True)
class _Manifest:
    """Content of ``onnx.json``."""

    format: int
    graphs: Mapping[Tower, GraphFacts]


def towers_of(folder: ModelFolder) -> tuple[Tower, ...]:
    """The towers that the model has."""
    return ("text",) if folder.config.vision is None else ("text", "image")


def graph_name(tower: Tower) -> str:
    return f"{tower}.onnx"


def graph_folders(folder: ModelFolder) -> dict[str, Path]:
    """Where a folder's exports may lie, in the order that they are looked at: words -> path."""
    return {"beside the weights": folder.path, "in the user's cache": user_cache() / "exports" / folder.fingerprint()}


def find_export(folder: ModelFolder, tower: Tower) -> Export | Stale:
    """The current graph of a tower, beside the weights or in the cache, or why there is none."""
    reasons = []
    for words, graph_folder in graph_folders(folder).items():
        reason = _why_unusable(graph_folder, tower, folder)
        if reason is None:
            return Export(tower, graph_folder / graph_name(tower), words)
        reasons.append(reason)
    return Stale(tower, "; ".join(reasons))


def stored_check_vectors(folder: ModelFolder) -> dict[Tower, Vectors]:
    """The check vectors (E,) of the towers that have a current graph with one: what any runtime must compute.

    Raises:
        FolderError: the file that holds them is broken.
    """
    found: dict[Tower, Vectors] = {}
    for tower in towers_of(folder):
        export = find_export(folder, tower)
        if isinstance(export, Export):
            vector = check_vector_of(export.graph)
            if vector is not None:
                found[tower] = vector
    return found


def _why_unusable(graph_folder: Path, tower: Tower, folder: ModelFolder) -> str | None:
    graph = graph_folder / graph_name(tower)
    if not graph.is_file():
        return f"no {graph_name(tower)} in {graph_folder}"
    try:
        facts = read_graph_manifest(graph_folder).get(tower)
    except FolderError as error:
        return str(error)
    if facts is None:
        return f"{graph} is not described by {MANIFEST} beside it"
    if facts.fingerprint != folder.fingerprint():
        return f"{graph} was made from another model ({facts.fingerprint}, this one is {folder.fingerprint()})"
    if facts.sha256 != sha256(graph):
        return f"{graph} is not the file that {MANIFEST} describes"
    return None


def read_graph_manifest(graph_folder: Path) -> Mapping[Tower, GraphFacts]:
    """What is known about the graphs of a place; empty where nothing was exported.

    Raises:
        FolderError: the manifest is broken or of another format; every field of it is required.
    """
    file = graph_folder / MANIFEST
    if not file.is_file():
        return {}
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        found = content.get("format") if isinstance(content, dict) else None
        if found is not None and found != FORMAT:  # another format may have other fields
            raise ValueError(f"format {found}, not {FORMAT}")
        return decode(_Manifest, content, MANIFEST, require_all=True).graphs
    except ValueError as error:  # ConfigError is one
        raise FolderError(f"{file} does not describe the graphs beside it ({error})") from error


def keep_graphs(graph_folder: Path, made: Mapping[Tower, tuple[bytes, GraphFacts]]) -> None:
    """Write graphs and manifest so that a reader sees old or new, never half. Graphs of the same model stay.

    Raises:
        OSError: the place cannot be written.
    """
    graph_folder.mkdir(parents=True, exist_ok=True)
    fingerprints = {facts.fingerprint for _, facts in made.values()}
    try:
        before = read_graph_manifest(graph_folder)
    except FolderError:  # it is replaced
        before = {}
    kept = {tower: facts for tower, facts in before.items() if facts.fingerprint in fingerprints}
    for tower, (content, facts) in made.items():
        write_bytes(graph_folder / graph_name(tower), content)
        kept[tower] = facts
    write_json(graph_folder / MANIFEST, encode(_Manifest(FORMAT, dict(sorted(kept.items())))))
