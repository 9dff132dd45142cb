"""Which runtime is chosen, and what is said when none can be."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import babelclip
from babelclip.checkpoint.folder import read_folder
from babelclip.errors import ConfigError, RuntimeUnavailable
from babelclip.runtime import choose, export
from babelclip.runtime.choose import open_runtime
from babelclip.runtime.exported import MANIFEST, Export, Stale, find_export, graph_folders

TORCH = {"torch", "onnx", "onnxscript"}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str]], None]:
    """Pretend that packages are not installed."""

    def pretend(absent: set[str]) -> None:
        installed = choose.is_installed
        monkeypatch.setattr(choose, "is_installed", lambda package: package not in absent and installed(package))

    return pretend


@pytest.fixture
def copy(exported_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with current exports that the test may change."""
    return Path(shutil.copytree(exported_folder("tiny"), tmp_path / "model"))


def forget_exports(folder: Path) -> None:
    for name in ("text.onnx", "image.onnx", MANIFEST):
        (folder / name).unlink(missing_ok=True)


def change_weights(folder: Path) -> None:
    """As after further training: same size, another value in the last tensor."""
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def test_auto_takes_the_export_at_hand(copy: Path, without: Callable[[set[str]], None]) -> None:
    without(TORCH)
    facts = open_runtime(read_folder(copy)).facts()
    assert facts["runtime"] == "onnx"
    assert facts["graphs"] == "beside the weights"


def test_auto_takes_torch_for_a_dtype_that_onnx_lacks(copy: Path) -> None:
    facts = open_runtime(read_folder(copy), dtype="bfloat16").facts()
    assert (facts["runtime"], facts["dtype"]) == ("torch", "bfloat16")


def test_auto_exports_once_and_says_so(
    copy: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_exports(copy)
    assert open_runtime(read_folder(copy)).facts()["runtime"] == "onnx"
    assert "exporting" in caplog.text
    monkeypatch.setattr(export, "export_model", lambda *_: pytest.fail("exported twice"))
    assert open_runtime(read_folder(copy)).facts()["runtime"] == "onnx"


def test_auto_without_export_tools_is_torch_and_says_why(
    copy: Path, caplog: pytest.LogCaptureFixture, without: Callable[[set[str]], None]
) -> None:
    forget_exports(copy)
    without({"onnx", "onnxscript"})
    assert open_runtime(read_folder(copy)).facts()["runtime"] == "torch"
    assert "runs in torch" in caplog.text
    assert "no text.onnx" in caplog.text


@pytest.mark.parametrize("name", ["auto", "onnx"])
def test_neither_torch_nor_export_names_two_ways_out(
    copy: Path, without: Callable[[set[str]], None], name: choose.RuntimeName
) -> None:
    forget_exports(copy)
    without(TORCH)
    with pytest.raises(RuntimeUnavailable, match=r"(?s)pip install 'babelclip\[torch\]'.*babelclip model export"):
        open_runtime(read_folder(copy), name)


def test_torch_without_torch_names_two_ways_out(copy: Path, without: Callable[[set[str]], None]) -> None:
    without(TORCH)
    with pytest.raises(RuntimeUnavailable, match=r"(?s)torch is not installed.*pip install.*runtime='onnx'"):
        open_runtime(read_folder(copy), "torch")


def test_stale_export_is_not_used(copy: Path, without: Callable[[set[str]], None]) -> None:
    change_weights(copy)
    found = find_export(read_folder(copy), "text")
    assert isinstance(found, Stale)
    assert "made from another model" in found.reason
    without(TORCH)
    with pytest.raises(RuntimeUnavailable, match="made from another model"):
        open_runtime(read_folder(copy), "onnx")


def test_stale_export_is_made_anew(copy: Path) -> None:
    before = (copy / "text.onnx").read_bytes()
    change_weights(copy)
    open_runtime(read_folder(copy), "onnx")
    assert isinstance(find_export(read_folder(copy), "text"), Export)
    assert (copy / "text.onnx").read_bytes() == before  # the graph holds no weights


@pytest.mark.parametrize("harm", ["graph changed", "manifest broken", "manifest of another format", "manifest gone"])
def test_doubtful_export_is_stale(copy: Path, harm: str) -> None:
    manifest = copy / MANIFEST
    if harm == "graph changed":
        (copy / "text.onnx").write_bytes((copy / "text.onnx").read_bytes() + b"\0")
    elif harm == "manifest broken":
        manifest.write_text(manifest.read_text()[:-20])
    elif harm == "manifest of another format":
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 999'))
    else:
        manifest.unlink()
    assert isinstance(find_export(read_folder(copy), "text"), Stale)


def test_folder_that_cannot_be_written_exports_into_the_cache(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser writes everywhere, so the refusal is played."""
    forget_exports(copy)
    keep = export.keep_graphs

    def refuse(graph_folder: Path, made: object) -> None:
        if graph_folder == copy:
            raise PermissionError(13, "read-only file system", str(graph_folder))
        keep(graph_folder, made)  # type: ignore[arg-type]

    monkeypatch.setattr(export, "keep_graphs", refuse)
    folder = read_folder(copy)
    runtime = open_runtime(folder, "onnx")
    assert runtime.facts()["graphs"] == "in the user's cache"
    assert not (copy / "text.onnx").exists()
    assert (graph_folders(folder)["in the user's cache"] / "text.onnx").is_file()
    encoder = babelclip.load(copy, runtime="onnx")  # the graph's weights lie elsewhere
    np.testing.assert_allclose(
        encoder.encode_text(["a", "b"]), babelclip.load(copy, runtime="torch").encode_text(["a", "b"]), atol=1e-5
    )


def test_weights_may_be_links(copy: Path, tmp_path: Path) -> None:
    """As in the cache of the hub's client."""
    blob = tmp_path / "blobs" / "0123"
    blob.parent.mkdir()
    (copy / "model.safetensors").rename(blob)
    (copy / "model.safetensors").symlink_to(blob)
    assert np.isfinite(babelclip.load(copy, runtime="onnx").encode_text("a")).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "openvino"}, "runtime must be one of auto, onnx, torch, found 'openvino'"),
        ({"name": "onnx", "device": "cuda"}, "runs on the CPU in float32; for device='cuda' choose runtime='torch'"),
        ({"name": "onnx", "dtype": "bfloat16"}, "for dtype='bfloat16' choose"),
        ({"name": "torch", "dtype": "float8"}, "dtype must be one of float32, bfloat16, found 'float8'"),
        ({"name": "torch", "device": "toaster"}, "unknown device 'toaster'"),
        ({"threads": 0}, "threads must be a whole number from 1"),
        ({"threads": True}, "threads must be a whole number from 1"),
    ],
)
def test_options_that_no_runtime_has(copy: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_runtime(read_folder(copy), **options)  # type: ignore[arg-type]


def test_device_that_is_not_here(copy: Path) -> None:
    import torch

    absent = "cuda:7" if not torch.cuda.is_available() or torch.cuda.device_count() < 8 else "xpu"
    with pytest.raises(RuntimeUnavailable, match="cannot be used"):
        open_runtime(read_folder(copy), "torch", device=absent)


def test_threads_are_told(copy: Path) -> None:
    assert open_runtime(read_folder(copy), "onnx", threads=3).facts()["threads"] == 3


def test_running_an_export_imports_no_torch(copy: Path) -> None:
    script = (
        "import sys, babelclip; e = babelclip.load(sys.argv[1]); e.encode_text(['a', 'b']); print(e.facts()['runtime'],"
        " sorted(set(sys.modules) & {'torch', 'onnx', 'onnxscript', 'onnx_ir', 'transformers'}))"
    )
    result = subprocess.run([sys.executable, "-c", script, copy], capture_output=True, text=True, check=True)
    assert result.stdout == "onnx []\n"
    assert result.stderr == ""


def test_exports_can_be_read_by_others(copy: Path) -> None:
    assert stat.S_IMODE(os.stat(copy / "text.onnx").st_mode) == 0o644
