"""Which runtime runs a folder. The only place that imports runtimes, each when it is chosen."""

from __future__ import annotations

import logging
from typing import Literal, get_args

from babelclip.checkpoint.folder import ModelFolder
from babelclip.errors import ConfigError, RuntimeUnavailable
from babelclip.optional_dependency import install_line, is_installed
from babelclip.runtime.exported import Export, Stale, find_export, stored_check_vectors, towers_of
from babelclip.runtime.runtime import Runtime

RuntimeName = Literal["auto", "onnx", "torch"]

_logger = logging.getLogger("babelclip")


def open_runtime(
    folder: ModelFolder,
    name: RuntimeName = "auto",
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
) -> Runtime:
    """A runtime for the folder; its ``facts()`` say which.

    ``onnx`` uses the exported graphs at hand and makes them where torch and onnx are installed. ``torch`` needs torch.
    ``auto`` is torch where a device other than the CPU or a dtype other than float32 is asked for; else onnx if it can,
    else torch. What is slow or unexpected is told through the logger "babelclip", which writes to stderr by default.

    Raises:
        ConfigError: an unknown name, or an option that the runtime does not have.
        RuntimeUnavailable: what the runtime needs is not at hand; the message names the ways out.
    """
    if name not in get_args(RuntimeName):
        raise ConfigError(f"runtime must be one of {', '.join(get_args(RuntimeName))}, found {name!r}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ConfigError(f"threads must be a whole number from 1, found {threads!r}")
    beyond_onnx = _beyond_onnx(device, dtype)
    if name == "onnx":
        if beyond_onnx:
            raise ConfigError(f"runtime 'onnx' runs on the CPU in float32; for {beyond_onnx} choose runtime='torch'")
        return _open_onnx(folder, threads)
    if name == "torch" or beyond_onnx:
        return _open_torch(folder, device, dtype, threads)
    return _open_auto(folder, threads)


def _beyond_onnx(device: str | None, dtype: str | None) -> str:
    """The options that only torch has, in words; empty where there are none."""
    asked = [f"device={device!r}"] if device not in (None, "cpu") else []
    asked += [f"dtype={dtype!r}"] if dtype not in (None, "float32") else []
    return " and ".join(asked)


def _open_auto(folder: ModelFolder, threads: int | None) -> Runtime:
    try:
        return _open_onnx(folder, threads)
    except RuntimeUnavailable as error:
        if not is_installed("torch"):
            raise
        _logger.warning("%s runs in torch: %s", folder.name, error)
        return _open_torch(folder, None, None, threads)


def _open_onnx(folder: ModelFolder, threads: int | None) -> Runtime:
    if not is_installed("onnxruntime"):
        raise RuntimeUnavailable("onnxruntime is not installed: `pip install onnxruntime`, or use runtime='torch'")
    found = [find_export(folder, tower) for tower in towers_of(folder)]
    stale = [item for item in found if isinstance(item, Stale)]
    exports = [item for item in found if isinstance(item, Export)]
    if stale:
        exports += _export(folder, stale)
    from babelclip.runtime.onnx_runtime import OnnxRuntime

    return OnnxRuntime(folder, exports, threads)


def _export(folder: ModelFolder, stale: list[Stale]) -> list[Export]:
    reasons = "; ".join(item.reason for item in stale)
    if not can_export():
        raise RuntimeUnavailable(
            f"{folder.name} has no exported graphs that belong to it ({reasons}). Two ways out: "
            f"`{install_line('torch')}`, which runs it, or 'babelclip[export]', which exports it too; "
            "or copy the folder from a machine where `babelclip model export FOLDER` was run."
        )
    from babelclip.runtime.export import export_model

    _logger.warning("exporting %s for ONNX Runtime, once (%s)", folder.name, reasons)
    return export_model(folder, [item.tower for item in stale])


def _open_torch(folder: ModelFolder, device: str | None, dtype: str | None, threads: int | None) -> Runtime:
    if not is_installed("torch"):
        raise RuntimeUnavailable(
            f"torch is not installed. Two ways out: `{install_line('torch')}`; or run the model without torch, "
            "with runtime='onnx' on the CPU in float32, which needs exported graphs (`babelclip model export FOLDER`)."
        )
    from babelclip.runtime.torch_runtime import open_torch

    if threads is not None:
        import torch

        torch.set_num_threads(threads)  # for the whole process: torch knows no other way
    return open_torch(folder, device, dtype, expected=stored_check_vectors(folder))


def can_export() -> bool:
    """Whether everything is installed that an export needs."""
    return all(is_installed(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime"))
