"""Model folder -> torch towers. Weights are mapped from disk; adapters stay live or are merged into their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from babelclip.checkpoint.folder import ModelFolder
from babelclip.checkpoint.names import tensor_specs
from babelclip.checkpoint.quantized import SCALE_SUFFIX, is_quantized
from babelclip.checkpoint.weights import TensorEntry, read_float32, read_stored
from babelclip.errors import ConfigError, WeightsError
from babelclip.prepare.config import TextPrepareConfig
from babelclip.towers.config import AdapterConfig, DualConfig
from babelclip.towers.dual import DualEncoder

Adapters = Literal["merged", "live", "auto"]


def load_towers(folder: ModelFolder, *, adapters: Adapters = "auto", dtype: torch.dtype | None = None) -> DualEncoder:
    """The folder's towers with its weights, in evaluation mode, on the CPU.

    Args:
        folder: of the model.
        adapters: "merged" bakes the one that is always on into plain weights, "live" keeps all of them to be chosen row
            by row, "auto" merges where one is always on.
        dtype: None is float32, whatever the file has; tensors that have it on disk already stay mapped from the file
            and use no memory of their own until they are read.

    Raises:
        WeightsError: tensors missing, left over, of another shape, or a broken file.
        ConfigError: "merged" for a model where no adapter is always on.
    """
    is_merged = _is_merged(folder, adapters)
    config = merged_config(folder.config) if is_merged else folder.config
    with torch.device("meta"):  # shapes without memory
        model = DualEncoder(config)
    read = _reader(folder.tensor_index(), dtype or torch.float32)
    names = [spec.name for spec in tensor_specs(config)]
    fill(model, merged_tensors(folder, read) if is_merged else {name: read(name) for name in names})
    return model.eval()


def fill(model: DualEncoder, tensors: Mapping[str, Tensor]) -> None:
    """Make `tensors` the model's parameters, without a copy; the model may have been built on the meta device.

    Raises:
        WeightsError: tensors that the model lacks or that are left over, both listed; or of another shape.
    """
    wanted = model.state_dict()
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or extra:
        raise WeightsError(f"the towers lack {missing[:10]} ({len(missing)}); left over {extra[:10]} ({len(extra)})")
    wrong = [
        f"{name} is {list(tensors[name].shape)}, expected {list(wanted[name].shape)}"
        for name in wanted
        if tensors[name].shape != wanted[name].shape
    ]
    if wrong:
        raise WeightsError(f"shapes differ: {'; '.join(wrong[:10])} ({len(wrong)})")
    model.load_state_dict(dict(tensors), strict=True, assign=True)


# ---------------------------------------------------------------- adapters


def merged_config(config: DualConfig) -> DualConfig:
    """The same model with plain layers in place of adapted ones."""
    return replace(config, text=replace(config.text, adapters=None))


def merged_prepare(prepare: TextPrepareConfig) -> TextPrepareConfig:
    """Preprocessing of a model whose adapter was merged: the same prefixes, no adapters to choose from."""
    return replace(prepare, adapters=(), always_adapter=None)


def merged_tensors(folder: ModelFolder, read: Callable[[str], Tensor] | None = None) -> dict[str, Tensor]:
    """All tensors of the model without adapters; `read` gives one by our name (float32 where it is left out).

    One weight at a time is summed in float32 and cast to the dtype that `read` gives.
    """
    read = read or _reader(folder.tensor_index(), torch.float32)
    adapters, always = folder.config.text.adapters, folder.text_prepare.always_adapter
    if adapters is None or always is None:
        raise ConfigError(f"{folder.name}: no adapter is always on, so there is none to merge; use adapters='live'")
    task, live = adapters.tasks.index(always), {spec.name for spec in tensor_specs(folder.config)}
    merged: dict[str, Tensor] = {}
    for spec in tensor_specs(merged_config(folder.config)):
        layer = spec.name.removesuffix(".weight")
        low, high = f"{layer}.lora_A", f"{layer}.lora_B"
        base = read(spec.name)
        if low in live:
            is_embedding = spec.name.startswith("text.embeddings.")
            base = merge_adapter(base, read(low)[task], read(high)[task], adapters, is_embedding=is_embedding)
        merged[spec.name] = base
    return merged


def merge_adapter(weight: Tensor, a: Tensor, b: Tensor, adapters: AdapterConfig, *, is_embedding: bool) -> Tensor:
    """A weight with its adapter in it.

    W + (B @ A) * alpha / r for a Linear (weight (out, in), a (r, in), b (out, r));
    W + (A @ B) * alpha / r for an Embedding (weight (num, dim), a (num, r), b (r, dim)).
    Summed in float32, returned in the weight's dtype. The weight itself is left as it is.
    """
    left, right = (a, b) if is_embedding else (b, a)
    total = torch.addmm(weight.float(), left.float(), right.float(), alpha=adapters.scaling)
    return total.to(weight.dtype)


def _is_merged(folder: ModelFolder, adapters: Adapters) -> bool:
    if adapters not in ("merged", "live", "auto"):
        raise ConfigError(f"adapters = {adapters!r}; known are merged, live, auto")
    if folder.config.text.adapters is None or adapters == "live":
        return False
    return adapters == "merged" or folder.text_prepare.always_adapter is not None


# ---------------------------------------------------------------- tensors


def _reader(index: Mapping[str, TensorEntry], dtype: torch.dtype) -> Callable[[str], Tensor]:
    return lambda name: read_torch(index, name).to(dtype)


def read_torch(index: Mapping[str, TensorEntry], name: str) -> Tensor:
    """A tensor by our name as stored, mapped from the file (copy-on-write); quantized ones come as float32."""
    entry = index[name]
    if is_quantized(entry.dtype):
        return torch.from_numpy(read_float32(index, name))
    array: Any = read_stored(entry).array
    if entry.dtype == "BF16":
        return torch.from_numpy(array.view("<i2")).view(torch.bfloat16)
    return torch.from_numpy(array)


def state_tensors(model: DualEncoder) -> dict[str, Tensor]:
    """The model's tensors by our names, detached: what `write_folder` and `write_published` take."""
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if not name.endswith(SCALE_SUFFIX)}
