"""``babelclip doctor``: what is installed here, what works, where things are kept."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib import metadata
from typing import Any

from babelclip.cli.options import JsonOption

CORE = ("numpy", "pillow", "tokenizers", "safetensors", "onnxruntime", "huggingface-hub")
# Distribution -> what it is for, and the extra that brings it.
_OPTIONAL = {
    "torch": ("runs any model folder", "torch"),
    "onnx": ("exports model folders", "export"),
    "onnxscript": ("exports model folders", "export"),
    "pyarrow": ("reads and writes parquet", "parquet"),
    "fastapi": ("the server and the search page", "server"),
    "pillow-heif": ("indexes HEIC photos", "heif"),
    "pypdfium2": ("indexes PDF documents", "pdf"),
    "psycopg": ("an index in PostgreSQL", "postgres"),
    "qdrant-client": ("an index in Qdrant", "qdrant"),
    "lancedb": ("an index in LanceDB", "lance"),
}


def doctor(*, json_lines: JsonOption = False) -> int:
    """Say what is installed here, what the configuration says, and whether the bundled model works: exit code 1 if not.

    Args:
        json_lines: Results as JSON lines on stdout, in place of text to read: one object.
    """
    found = examine()
    if json_lines:
        print(json.dumps(found, ensure_ascii=False))
    else:
        for name, value in found.items():
            _show(name, value)
    return 0 if found["bundled model"]["works"] else 1


def examine() -> dict[str, Any]:
    """Everything that doctor says, as plain data."""
    from babelclip.no_telemetry import telemetry
    from babelclip.optional_dependency import install_line
    from babelclip.search.open_store import default_url
    from babelclip.user_folders import user_cache
    from babelclip.version import __version__

    return {
        "babelclip": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": _usable_cores(),
        "packages": {name: version_of(name) or "missing" for name in CORE},
        "optional": {
            name: version_of(name) or f"not installed ({use}: {install_line(extra)})"
            for name, (use, extra) in _OPTIONAL.items()
        },
        "runtimes": runtimes(),
        "bundled model": try_bundled_model(),
        "cache": str(user_cache()),
        "index": default_url(),
        "hub cache": hub_cache(),
        "configuration": configuration(),
        "telemetry": telemetry(),
        "offline": os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"),
    }


def _show(name: str, value: Any) -> None:
    """One fact, with those below it indented."""
    if isinstance(value, dict):
        print(f"{name}:")
        for key, inner in value.items():
            print(f"  {key + ':':<19} {plain(inner)}")
    else:
        print(f"{name + ':':<22}{plain(value)}")


def plain(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _usable_cores() -> int:
    """Cores that this process may use; a container or taskset may allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version_of(package: str) -> str | None:
    """Version of an installed package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def runtimes() -> list[str]:
    """Runtimes that could run a model here."""
    found = []
    if version_of("onnxruntime") or version_of("onnxruntime-gpu"):
        import onnxruntime

        providers = (name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
        found.append(f"onnx ({' '.join(providers)})")
    if version_of("torch"):
        found.append("torch")
    return found


def try_bundled_model() -> dict[str, Any]:
    """Load the bundled model and embed a text with it; a failure is a finding, not a crash."""
    import numpy as np

    import babelclip

    start = time.perf_counter()
    try:
        encoder = babelclip.load()
        loaded = time.perf_counter()
        vector = encoder.encode_text("a bridge at dawn")
    except Exception as error:  # doctor reports whatever is wrong, also what nobody foresaw
        return {"works": False, "problem": f"{type(error).__name__}: {error}"}
    return {
        "works": bool(np.isfinite(vector).all()),
        "name": encoder.name,
        "dim": encoder.dim,
        "seconds to load": round(loaded - start, 2),
        "seconds for a text": round(time.perf_counter() - loaded, 3),
    }


def configuration() -> dict[str, str]:
    """The file in force, and what it and the environment say, each with its source."""
    from babelclip.cli.configuration import file_in_force, settings_in_force, user_file

    file = file_in_force()
    found = {"file": f"none; it would be {user_file()}" if file is None else str(file)}
    return found | {setting.where: f"{setting.value} ({setting.source})" for setting in settings_in_force()}


def hub_cache() -> str:
    """Where models from the hub are kept."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)
