"""Names and shapes of every tensor: ours and the published ones, as one table that reads both ways.

A row stands for one layer. ``tensor_specs`` spells it out for a configuration, ``match_tensors`` compares that with
what a file holds: every tensor of the file is used and every one of ours is filled, or the error lists both.
Source of the published names: the headers of the published files; tests/parity/test_full_size_names.py proves all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from babelclip.checkpoint.quantized import SCALE_SUFFIX, scale_form, stored_shape
from babelclip.checkpoint.weights import TensorEntry
from babelclip.errors import ConfigError, WeightsError
from babelclip.towers.config import (
    ClipVisionConfig,
    ConvTrunkConfig,
    DualConfig,
    Eva02VisionConfig,
    LinearPatchesConfig,
    TextTowerConfig,
    VisionTowerConfig,
)

Layout = Literal["babelclip", "jina_clip", "jina_embeddings_v3"]

_Kind = Literal[
    "linear",  # weight (out, in) with adapters, and bias
    "embedding",  # weight (num, dim) with adapters
    "layer",  # weight and bias, never adapters (norms, convolutions, the image tower's Linears)
    "matrix",  # weight alone, never adapters
    "tensor",  # the name itself is the tensor
]


@dataclass(frozen=True, slots=True)
class LayerName:
    """One layer in both languages. Shape letters are explained in ``_text_sizes`` and ``_vision_sizes``."""

    ours: str
    published: str
    kind: _Kind
    shape: str


TEXT_ROWS = (
    LayerName("embeddings.word", "embeddings.word_embeddings", "embedding", "V D"),
    LayerName("embeddings.token_type", "embeddings.token_type_embeddings", "embedding", "Y D"),
    LayerName("embeddings.norm", "emb_ln", "layer", "D"),
)
TEXT_BLOCK_ROWS = (
    LayerName("blocks.{i}.attention.qkv", "encoder.layers.{i}.mixer.Wqkv", "linear", "3D D"),
    LayerName("blocks.{i}.attention.out", "encoder.layers.{i}.mixer.out_proj", "linear", "D D"),
    LayerName("blocks.{i}.norm1", "encoder.layers.{i}.norm1", "layer", "D"),
    LayerName("blocks.{i}.feed_forward.up", "encoder.layers.{i}.mlp.fc1", "linear", "F D"),
    LayerName("blocks.{i}.feed_forward.down", "encoder.layers.{i}.mlp.fc2", "linear", "D F"),
    LayerName("blocks.{i}.norm2", "encoder.layers.{i}.norm2", "layer", "D"),
)
POOLER_ROW = LayerName("pooler", "pooler.dense", "linear", "D D")
PROJECTION_ROW = LayerName("projection", "proj", "matrix", "E D")  # beside the transformer, not inside

EVA02_ROWS = (
    LayerName("cls_token", "cls_token", "tensor", "1 1 D"),
    LayerName("position_embedding", "pos_embed", "tensor", "1 T D"),
    LayerName("norm", "norm", "layer", "D"),
)
EVA02_BLOCK_ROWS = (
    LayerName("blocks.{i}.norm1", "blocks.{i}.norm1", "layer", "D"),
    LayerName("blocks.{i}.attention.query", "blocks.{i}.attn.q_proj", "matrix", "D D"),
    LayerName("blocks.{i}.attention.key", "blocks.{i}.attn.k_proj", "matrix", "D D"),
    LayerName("blocks.{i}.attention.value", "blocks.{i}.attn.v_proj", "matrix", "D D"),
    LayerName("blocks.{i}.attention.query_bias", "blocks.{i}.attn.q_bias", "tensor", "D"),
    LayerName("blocks.{i}.attention.value_bias", "blocks.{i}.attn.v_bias", "tensor", "D"),
    LayerName("blocks.{i}.attention.inner_norm", "blocks.{i}.attn.inner_attn_ln", "layer", "D"),
    LayerName("blocks.{i}.attention.out", "blocks.{i}.attn.proj", "layer", "D D"),
    LayerName("blocks.{i}.norm2", "blocks.{i}.norm2", "layer", "D"),
    LayerName("blocks.{i}.feed_forward.gate", "blocks.{i}.mlp.w1", "layer", "F D"),
    LayerName("blocks.{i}.feed_forward.up", "blocks.{i}.mlp.w2", "layer", "F D"),
    LayerName("blocks.{i}.feed_forward.norm", "blocks.{i}.mlp.ffn_ln", "layer", "F"),
    LayerName("blocks.{i}.feed_forward.down", "blocks.{i}.mlp.w3", "layer", "D F"),
)
CLIP_ROWS = (  # no published layout has this tower
    LayerName("patches.projection", "", "matrix", "D 3 p p"),
    LayerName("cls_token", "", "tensor", "1 1 D"),
    LayerName("position_embedding", "", "tensor", "1 T D"),
    LayerName("pre_norm", "", "layer", "D"),
    LayerName("norm", "", "layer", "D"),
    LayerName("projection", "", "matrix", "E D"),
)
CLIP_BLOCK_ROWS = (
    LayerName("blocks.{i}.norm1", "", "layer", "D"),
    LayerName("blocks.{i}.attention.qkv", "", "layer", "3D D"),
    LayerName("blocks.{i}.attention.out", "", "layer", "D D"),
    LayerName("blocks.{i}.norm2", "", "layer", "D"),
    LayerName("blocks.{i}.feed_forward.up", "", "layer", "F D"),
    LayerName("blocks.{i}.feed_forward.down", "", "layer", "D F"),
)
LINEAR_PATCHES_ROW = LayerName("patches.projection", "patch_embed.proj", "layer", "D 3 p p")
TRUNK_PATCHES_ROW = LayerName("patches.projection", "", "layer", "D C")  # no published model has a trunk
TRUNK_CLASSES_ROWS = (
    LayerName("patches.classifier", "", "layer", "K C"),
    LayerName("patches.class_embedding", "", "matrix", "D K"),
)

_PUBLISHED_PREFIX: dict[Layout, str] = {
    "jina_clip": "text_model.transformer.roberta.",
    "jina_embeddings_v3": "roberta.",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor that a model of a given configuration has."""

    name: str
    shape: tuple[int, ...]
    published: str  # its name in the layout that was asked for; "" where no published model has such a part


# ---------------------------------------------------------------- spelling out


def tensor_specs(config: DualConfig, layout: Layout = "babelclip") -> tuple[TensorSpec, ...]:
    """Every tensor of the model, with its name in the layout (`TensorSpec.published`; ours for our own layout).

    Raises:
        ConfigError: the layout has no place for a part of the model.
    """
    if layout == "jina_embeddings_v3" and config.vision is not None:
        raise ConfigError("the layout of jina-embeddings-v3 is text only; a model with an image tower is a jina_clip")
    if layout == "jina_clip" and config.vision is None:
        raise ConfigError("the layout of jina-clip-v2 needs an image tower; a text-only model is a jina_embeddings_v3")
    specs = list(_text_specs(config.text, _PUBLISHED_PREFIX.get(layout, "")))
    if config.vision is not None:
        specs += _vision_specs(config.vision)
        specs.append(TensorSpec("logit_scale", (), "logit_scale"))
    if layout == "babelclip":
        return tuple(TensorSpec(spec.name, spec.shape, spec.name) for spec in specs)
    _refuse_unpublished(config, layout, specs)
    return tuple(specs)


def _refuse_unpublished(config: DualConfig, layout: Layout, specs: list[TensorSpec]) -> None:
    if isinstance(config.vision, ClipVisionConfig):
        raise ConfigError("CLIP's image tower has no place in the published layout; keep the babelclip layout")
    if config.vision is not None and isinstance(config.vision.patches, ConvTrunkConfig):
        raise ConfigError("a convolutional trunk has no place in the published layout; keep the babelclip layout")
    if layout == "jina_embeddings_v3" and config.text.projection:
        raise ConfigError("a text projection has no place in the layout of jina-embeddings-v3")
    if layout == "jina_clip" and config.text.pooler:
        raise ConfigError("a pooler has no place in the layout of jina-clip-v2")
    assert all(spec.published for spec in specs)


def _text_specs(config: TextTowerConfig, prefix: str) -> Iterator[TensorSpec]:
    sizes = _text_sizes(config)
    for row in TEXT_ROWS:
        yield from _spell(row, "text.", prefix, sizes, config)
    for i in range(config.num_layers):
        for row in TEXT_BLOCK_ROWS:
            yield from _spell(_numbered(row, i), "text.", prefix, sizes, config)
    if config.pooler:
        yield from _spell(POOLER_ROW, "text.", prefix, sizes, config)
    if config.projection:
        yield from _spell(PROJECTION_ROW, "text.", "text_model.", sizes, config)


def _vision_specs(config: VisionTowerConfig) -> Iterator[TensorSpec]:
    sizes = _vision_sizes(config)
    rows: tuple[LayerName, ...] = CLIP_ROWS
    in_blocks: tuple[LayerName, ...] = CLIP_BLOCK_ROWS
    if isinstance(config, Eva02VisionConfig):
        rows, in_blocks = _eva02_rows(config), EVA02_BLOCK_ROWS
    for row in (*rows, *(_numbered(row, i) for i in range(config.num_layers) for row in in_blocks)):
        yield from _spell(row, "vision.", "vision_model.", sizes, None)
    if isinstance(config.patches, ConvTrunkConfig):
        yield from _trunk_specs(config.patches)


def _eva02_rows(config: Eva02VisionConfig) -> tuple[LayerName, ...]:
    """Everything outside the blocks, but for the layers of a trunk."""
    if isinstance(config.patches, LinearPatchesConfig):
        return (*EVA02_ROWS, LINEAR_PATCHES_ROW)
    return (*EVA02_ROWS, TRUNK_PATCHES_ROW, *(TRUNK_CLASSES_ROWS if config.patches.classes else ()))


def _text_sizes(config: TextTowerConfig) -> dict[str, int]:
    """D width, F inside the feed-forward, V vocabulary, Y token types, E embedding."""
    width = config.width
    return {
        "D": width,
        "3D": 3 * width,
        "F": config.hidden,
        "V": config.vocab_size,
        "Y": config.num_token_types,
        "E": config.embed_dim,
    }


def _vision_sizes(config: VisionTowerConfig) -> dict[str, int]:
    """As for texts; T tokens with CLS, p patch side, C width of the trunk's head, K classes."""
    width = config.width
    sizes = {"D": width, "3D": 3 * width, "F": config.hidden, "T": config.grid**2 + 1, "E": config.embed_dim}
    if isinstance(config.patches, LinearPatchesConfig):
        return sizes | {"p": config.patches.size}
    return sizes | {"C": config.patches.head_width, "K": config.patches.classes}


def _trunk_specs(config: ConvTrunkConfig) -> Iterator[TensorSpec]:
    """Weight and bias of every convolution, (out, in / groups, kernel, kernel)."""

    def layer(name: str, out: int, inside: int, kernel: int) -> Iterator[TensorSpec]:
        yield TensorSpec(f"vision.patches.trunk.{name}.weight", (out, inside, kernel, kernel), "")
        yield TensorSpec(f"vision.patches.trunk.{name}.bias", (out,), "")

    yield from layer("stem", config.stem_width, 3, 3)
    width, i = config.stem_width, 0
    for stage in config.stages:
        for _ in range(stage.repeats):
            inner = width * stage.expansion
            if stage.expansion > 1:
                yield from layer(f"blocks.{i}.expand", inner, width, 1)
            yield from layer(f"blocks.{i}.depthwise", inner, 1, stage.kernel)
            yield from layer(f"blocks.{i}.project", stage.width, inner, 1)
            width, i = stage.width, i + 1
    yield from layer("head", config.head_width, width, 1)


def _numbered(row: LayerName, i: int) -> LayerName:
    return LayerName(row.ours.replace("{i}", str(i)), row.published.replace("{i}", str(i)), row.kind, row.shape)


def _spell(
    row: LayerName, ours: str, published: str, sizes: Mapping[str, int], text: TextTowerConfig | None
) -> Iterator[TensorSpec]:
    """The tensors of one row; `text` is the configuration whose adapters apply."""
    name, other = ours + row.ours, published + row.published if row.published else ""
    shape = tuple(sizes[letter] if letter in sizes else int(letter) for letter in row.shape.split())
    if row.kind == "tensor":
        yield TensorSpec(name, shape, other)
        return
    adapters = text.adapters if text is not None and row.kind in ("linear", "embedding") else None
    if adapters is None:
        yield TensorSpec(f"{name}.weight", shape, other and f"{other}.weight")
    else:
        tasks, rank = len(adapters.tasks), adapters.rank
        first, second = shape
        low, high = ((rank, second), (first, rank)) if row.kind == "linear" else ((first, rank), (rank, second))
        yield TensorSpec(f"{name}.weight", shape, f"{other}.parametrizations.weight.original")
        yield TensorSpec(f"{name}.lora_A", (tasks, *low), f"{other}.parametrizations.weight.0.lora_A")
        yield TensorSpec(f"{name}.lora_B", (tasks, *high), f"{other}.parametrizations.weight.0.lora_B")
    if row.kind in ("linear", "layer"):
        yield TensorSpec(f"{name}.bias", shape[:1], other and f"{other}.bias")


# ---------------------------------------------------------------- matching


def match_tensors(
    specs: tuple[TensorSpec, ...], found: Mapping[str, TensorEntry], where: str
) -> dict[str, TensorEntry]:
    """Our name -> entry for everything in a file: every tensor used, every one of ours filled, shapes equal.

    Quantized tensors bring their scale along as ``<name>.scale`` (our layout only).

    Raises:
        WeightsError: lists what the file lacks, what it has and nothing takes, and shapes that differ.
    """
    matched: dict[str, TensorEntry] = {}
    left_over = dict(found)
    missing, wrong = [], []
    for spec in specs:
        entry = left_over.pop(spec.published, None)
        if entry is None:
            missing.append(spec.published)
            continue
        matched[spec.name] = entry
        shape = stored_shape(entry.dtype, spec.shape)
        if entry.shape != shape:
            wrong.append(f"{spec.published} is {list(entry.shape)}, the configuration says {list(shape)}")
        wanted = scale_form(entry.dtype, spec.shape)
        if wanted is None:
            continue
        scale = left_over.pop(spec.published + SCALE_SUFFIX, None)
        if scale is None or (scale.dtype, scale.shape) != wanted:
            dtype, size = wanted
            wrong.append(
                f"{spec.published} is {entry.dtype} and needs {SCALE_SUFFIX} of {dtype} {list(size)} beside it"
            )
        else:
            matched[spec.name + SCALE_SUFFIX] = scale
    if missing or left_over or wrong:
        raise WeightsError(_mismatch(where, missing, list(left_over), wrong))
    return matched


def _mismatch(where: str, missing: list[str], left_over: list[str], wrong: list[str]) -> str:
    parts = [f"the tensors in {where} are not those of its configuration."]
    for heading, names in (("Missing", missing), ("Left over", left_over), ("Wrong", wrong)):
        if names:
            more = f", and {len(names) - 10} more" if len(names) > 10 else ""
            parts.append(f"{heading} ({len(names)}): {', '.join(names[:10])}{more}.")
    return " ".join(parts)
