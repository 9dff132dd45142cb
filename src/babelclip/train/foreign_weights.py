"""The large model's own starting points, by name: XLM-RoBERTa-large for texts, EVA02-CLIP-L/14 for images.

Neither file was at hand when this was written: the tables are proved on towers of the same names and other sizes
(tests), and a file that has other names than these is an error that lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from babelclip.errors import WeightsError
from babelclip.towers.config import Eva02VisionConfig, LinearPatchesConfig, TextTowerConfig
from babelclip.towers.resize import resize_positions

XLM_ROBERTA = {  # ours, inside a block -> theirs
    "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "norm2": "output.LayerNorm",
}
XLM_ROBERTA_UNUSED = ("position_embeddings", "position_ids", "pooler.", "lm_head.")
EVA02 = {
    "norm1": "norm1",
    "attention.query.weight": "attn.q_proj.weight",
    "attention.key.weight": "attn.k_proj.weight",
    "attention.value.weight": "attn.v_proj.weight",
    "attention.query_bias": "attn.q_bias",
    "attention.value_bias": "attn.v_bias",
    "attention.inner_norm": "attn.inner_attn_ln",
    "attention.out": "attn.proj",
    "norm2": "norm2",
    "feed_forward.gate": "mlp.w1",
    "feed_forward.up": "mlp.w2",
    "feed_forward.norm": "mlp.ffn_ln",
    "feed_forward.down": "mlp.w3",
}
EVA02_UNUSED = ("text.", "logit_scale", "visual.head.", "visual.rope.")


def xlm_roberta_tensors(path: Path, config: TextTowerConfig) -> dict[str, Tensor]:
    """A text tower's tensors (names inside ``text``) out of XLM-RoBERTa's file.

    Learned positions have no place in a rotary tower; their mean goes into the token-type row, so that the first block
    sees embeddings of the size it knows.

    Raises:
        WeightsError: Tensors are missing or left over; it lists them.
    """
    source = {name.removeprefix("roberta."): tensor for name, tensor in _read(path).items()}
    taken = _Taken(source, path, XLM_ROBERTA_UNUSED)
    types = taken.take("embeddings.token_type_embeddings.weight")
    positions = source.get("embeddings.position_embeddings.weight")
    if positions is not None:
        types = types + positions[2:66].float().mean(dim=0, keepdim=True)  # the first two are never used
    tensors = {"embeddings.word.weight": taken.take("embeddings.word_embeddings.weight")}
    tensors["embeddings.token_type.weight"] = types
    for part in ("weight", "bias"):
        tensors[f"embeddings.norm.{part}"] = taken.take(f"embeddings.LayerNorm.{part}")
    for block in range(config.num_layers):
        theirs = f"encoder.layer.{block}"
        for part in ("weight", "bias"):
            qkv = [taken.take(f"{theirs}.attention.self.{name}.{part}") for name in ("query", "key", "value")]
            tensors[f"blocks.{block}.attention.qkv.{part}"] = torch.cat(qkv)
            for ours, name in XLM_ROBERTA.items():
                tensors[f"blocks.{block}.{ours}.{part}"] = taken.take(f"{theirs}.{name}.{part}")
    taken.check()
    return tensors


def eva02_tensors(path: Path, config: Eva02VisionConfig) -> dict[str, Tensor]:
    """An image tower's tensors (names inside ``vision``) out of EVA02-CLIP's file, positions resized to its grid.

    Raises:
        WeightsError: Tensors are missing or left over; it lists them.
    """
    taken = _Taken(_read(path), path, EVA02_UNUSED)
    positions = taken.take("visual.pos_embed")
    assert isinstance(config.patches, LinearPatchesConfig)
    side = round((positions.shape[1] - 1) ** 0.5)
    before = replace(config, image_size=side * config.patches.size)
    tensors = {
        "cls_token": taken.take("visual.cls_token"),
        "position_embedding": resize_positions(positions, before, config),
        "patches.projection.weight": taken.take("visual.patch_embed.proj.weight"),
        "patches.projection.bias": taken.take("visual.patch_embed.proj.bias"),
        "norm.weight": taken.take("visual.norm.weight"),
        "norm.bias": taken.take("visual.norm.bias"),
    }
    for block in range(config.num_layers):
        for ours, theirs in EVA02.items():
            is_tensor = ours.endswith(("weight", "_bias"))
            for part in ("",) if is_tensor else (".weight", ".bias"):
                tensors[f"blocks.{block}.{ours}{part}"] = taken.take(f"visual.blocks.{block}.{theirs}{part}")
    taken.check()
    return tensors


class _Taken:
    """Tensors of a file, and which of them were used."""

    def __init__(self, source: Mapping[str, Tensor], path: Path, unused: tuple[str, ...]) -> None:
        self._source, self._path = source, path
        self._left = {name for name in source if not any(part in name for part in unused)}
        self._missing: list[str] = []

    def take(self, name: str) -> Tensor:
        self._left.discard(name)
        if name not in self._source:
            self._missing.append(name)
            return torch.zeros(1, 1)
        return self._source[name].float()

    def check(self) -> None:
        if self._missing or self._left:
            raise WeightsError(
                f"{self._path} lacks {self._missing[:5]} ({len(self._missing)}); left over {sorted(self._left)[:5]} "
                f"({len(self._left)})"
            )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"there is no file {path} to start from")
    if path.suffix == ".safetensors":
        return load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    return dict(found.get("module", found.get("state_dict", found)))
