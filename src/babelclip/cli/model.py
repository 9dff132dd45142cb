"""``babelclip model``: the model folders on this machine, and how to get, export and check one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from babelclip.checkpoint.folder import ModelFolder

app = App(name="model", help="List, pull, export, calibrate and verify model folders.")
app.command("babelclip.cli.calibrate:calibrate", name="calibrate")


def open_any(source: str | None, revision: str | None = None) -> ModelFolder:
    """A folder, a model of the hub, or the bundled model."""
    from babelclip.bundled import bundled_folder
    from babelclip.checkpoint.fetch import open_folder

    return open_folder(bundled_folder() if source is None else source, revision=revision)


@app.command(name="list")
def list_models(*, json_lines: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """List the models that can be opened here without a network, and the published ones that can be pulled.

    Args:
        json_lines: One JSON object per model on stdout instead of a list to read.
    """
    from babelclip.checkpoint.fetch import KNOWN_LICENSES

    rows = [bundled_row(), *hub_rows()]
    here = {row["name"] for row in rows}
    rows += [
        {"name": name, "where": "on the hub", "license": license_name}
        for name, license_name in KNOWN_LICENSES.items()
        if name not in here
    ]
    for row in rows:
        if json_lines:
            print(json.dumps(row, ensure_ascii=False))
        else:
            details = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("name", "where"))
            print(f"{row['name']}  ({row['where']})\n  {details}")
    return 0


def bundled_row() -> dict[str, Any]:
    """The model that ships with the package, or why there is none."""
    from babelclip.bundled import bundled_folder
    from babelclip.errors import FolderError

    try:
        return folder_row(bundled_folder(), "bundled")
    except FolderError as error:
        return {"name": "bundled", "where": "absent", "problem": str(error)}


def hub_rows() -> list[dict[str, Any]]:
    """Models in the hub's cache that babelclip can read; what other programs keep there is left alone."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    from babelclip.errors import BabelclipError

    try:
        repositories = sorted(scan_cache_dir().repos, key=lambda repository: repository.repo_id)
    except CacheNotFound:
        return []
    rows = []
    for repository in repositories:
        for revision in repository.revisions if repository.repo_type == "model" else ():
            try:
                row = folder_row(revision.snapshot_path, "in the hub's cache")
            except BabelclipError:
                continue
            rows.append(row | {"name": repository.repo_id, "revision": revision.commit_hash})
    return rows


def folder_row(path: Path, where: str) -> dict[str, Any]:
    """What a list says about one folder."""
    from babelclip.checkpoint.folder import read_folder

    folder = read_folder(path)
    return {
        "name": folder.name,
        "where": where,
        "path": str(path),
        "dim": folder.config.embed_dim,
        "image_size": None if folder.image_prepare is None else folder.image_prepare.size,
        "megabytes": round(sum(file.stat().st_size for file in folder.weight_files) / 1e6, 1),
    }


@app.command
def pull(name: str, /, *, revision: str | None = None, update: bool = False) -> int:
    """Fetch a model from the hub into its usual cache, and print the folder.

    Args:
        name: The model's name on the hub: org/name.
        revision: Commit, branch or tag; the branch main, as it was when first asked for, when left out.
        update: Ask the hub anew what the name means.
    """
    from babelclip.checkpoint.fetch import fetch_model

    print(fetch_model(name, revision=revision, update=update).path)
    return 0


@app.command
def export(
    source: str | None = None,
    /,
    *,
    tower: Literal["text", "image"] | None = None,
    out: Path | None = None,
    revision: str | None = None,
) -> int:
    """Turn a model folder into ONNX graphs, which run without torch. A graph is kept only when it agrees with torch.

    Graphs lie beside the weights, or in the user's cache where the folder cannot be written.

    Args:
        source: Model folder or hub name; the bundled model when left out.
        tower: This tower alone; every tower that the model has when left out.
        out: Write the graphs into this folder instead. They point to weights beside them.
        revision: Of a model on the hub.
    """
    from babelclip.errors import RuntimeUnavailable
    from babelclip.runtime.choose import can_export

    if not can_export():
        raise RuntimeUnavailable("an export needs torch, onnx and onnxscript: pip install 'babelclip[export]'")
    from babelclip.runtime.export import export_model
    from babelclip.runtime.exported import read_manifest

    for made in export_model(open_any(source, revision), None if tower is None else [tower], out):
        facts = read_manifest(made.graph.parent)[made.tower]
        print(f"{made.graph}  (off by {facts.max_difference:.1e}, cosine at least {facts.min_cosine:.7f}, from torch)")
    return 0


@app.command
def verify(
    source: str | None = None,
    /,
    *,
    revision: str | None = None,
    json_lines: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Check a model folder: names, shapes, checksums, finite weights, and what its makers published about it.

    The exit code is 1 when a check fails.

    Args:
        source: Model folder or hub name; the bundled model when left out.
        revision: Of a model on the hub.
        json_lines: One JSON object per check on stdout instead of a list to read.
    """
    import babelclip
    from babelclip.checkpoint.verify import is_jina_clip_v2, verify_folder
    from babelclip.errors import BabelclipError

    try:
        folder = open_any(source, revision)
        encode = babelclip.load(source, revision=revision).encode_text if is_jina_clip_v2(folder) else None
        checks = verify_folder(folder, encode_text=encode)
    except BabelclipError:
        if source is None or not Path(source).exists():
            raise
        checks = verify_folder(source)  # what is wrong becomes a failed check among the others
    for check in checks:
        if json_lines:
            print(json.dumps({"what": check.what, "passed": check.passed, "detail": check.detail}, ensure_ascii=False))
        else:
            mark = {True: "ok", False: "FAILED", None: "not checked"}[check.passed]
            print(f"{mark:<12}{check.what}: {check.detail}")
    return 1 if any(check.passed is False for check in checks) else 0
