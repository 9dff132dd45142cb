"""The configuration files of jina-clip-v2 and jina-embeddings-v3, to our configurations and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from babelclip.checkpoint.names import Layout
from babelclip.checkpoint.published_options import (
    CLIP_TEXT,
    CLIP_TOP,
    CLIP_VISION,
    EMBEDDINGS_V3,
    PREPROCESSOR,
    TRANSFORMER,
    Options,
    check_options,
)
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import AdapterConfig, DualConfig, Eva02VisionConfig, LinearPatchesConfig, TextTowerConfig

_SPARE_POSITIONS = 2  # XLM-RoBERTa counts positions from the pad id + 1: 8194 of them hold 8192 tokens


def layout_of(config: Mapping[str, Any]) -> Layout:
    """Which published layout a config.json describes.

    Raises:
        ConfigError: none of those that babelclip reads.
    """
    model_type = config.get("model_type")
    if model_type == "jina_clip":
        return "jina_clip"
    is_v3 = "lora_adaptations" in config and config.get("position_embedding_type") == "rotary"
    if is_v3 and model_type in (None, "xlm-roberta"):  # its config.json has no model_type
        return "jina_embeddings_v3"
    raise ConfigError(
        f"config.json: model_type {model_type!r} is none that babelclip reads: "
        '"babelclip" (its own), "jina_clip" (jina-clip-v2), or the configuration of jina-embeddings-v3 (no model_type)'
    )


# ---------------------------------------------------------------- reading


def read_clip_config(
    config: Mapping[str, Any], tokenizer: Mapping[str, Any] | None = None
) -> tuple[DualConfig, TextPrepareConfig]:
    """From jina-clip-v2's config.json and, where there is one, tokenizer_config.json.

    Raises:
        ConfigError: an option that is unknown, missing or not supported, named.
    """
    check_options(CLIP_TOP, config)
    text = _section(config, "text_config", CLIP_TOP)
    check_options(CLIP_TEXT, text)
    transformer = _inherit(text)
    tower = _text_tower(transformer, embed_dim=_integer(text, "embed_dim", CLIP_TEXT), proj_type=text.get("proj_type"))
    vision = _vision_tower(_section(config, "vision_config", CLIP_TOP))
    dual = DualConfig(text=tower, vision=vision, dims=_dims(config.get("matryoshka_dimensions"), tower.embed_dim))
    assert tower.adapters is not None
    always = text.get("default_lora_task")
    if always not in tower.adapters.tasks:
        raise ConfigError(
            f"{CLIP_TEXT.where}: default_lora_task = {always!r} is not supported; "
            f"it must be one of lora_adaptations: {', '.join(tower.adapters.tasks)}"
        )
    prepare = _text_prepare(transformer, tower, tokenizer)
    return dual, replace(prepare, always_adapter=always, default_task=_default_task(text, prepare))


def read_embeddings_config(
    config: Mapping[str, Any], tokenizer: Mapping[str, Any] | None = None
) -> tuple[DualConfig, TextPrepareConfig]:
    """From jina-embeddings-v3's config.json; text only, the task of a call chooses the adapter, none means none.

    Raises:
        ConfigError: an option that is unknown, missing or not supported, named.
    """
    check_options(TRANSFORMER, config)
    width = _integer(config, "hidden_size", TRANSFORMER)
    tower = replace(_text_tower(config, embed_dim=width, proj_type=None), pooler=True)
    dual = DualConfig(text=tower, vision=None, dims=_dims(config.get("matryoshka_dimensions"), width))
    prepare = _text_prepare(config, tower, tokenizer)
    if set(prepare.instructions) != set(prepare.adapters):  # a task is both here
        raise ConfigError(
            f"config.json: task_instructions are for {sorted(prepare.instructions)}, "
            f"lora_adaptations are {sorted(prepare.adapters)}; they must be the same tasks"
        )
    return dual, prepare


def read_image_prepare(preprocessor: Mapping[str, Any] | None, image_size: int) -> ImagePrepareConfig:
    """From preprocessor_config.json; without one, the published behavior at the configuration's image size.

    Raises:
        ConfigError: an option that is unknown, missing or not supported, or a size that the image tower does not take.
    """
    if preprocessor is None:
        return ImagePrepareConfig(size=image_size)
    check_options(PREPROCESSOR, preprocessor)
    where = PREPROCESSOR.where
    missing = sorted(PREPROCESSOR.read - set(preprocessor))
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} missing; pixels depend on it, so nothing is guessed")
    size = preprocessor["size"]
    if type(size) is not int or size != image_size:
        raise ConfigError(f"{where}: size = {size!r}, but the image tower of config.json takes {image_size}")
    mode, interpolation = preprocessor["resize_mode"], preprocessor["interpolation"]
    if mode not in ("shortest", "squash", "longest"):
        raise ConfigError(f"{where}: resize_mode = {mode!r}; known are shortest, squash, longest")
    if interpolation not in ("bicubic", "bilinear", "random"):
        raise ConfigError(f"{where}: interpolation = {interpolation!r}; known are bicubic, bilinear, random")
    fill = preprocessor["fill_color"]
    if not isinstance(fill, int) or isinstance(fill, bool) or not 0 <= fill <= 255:
        raise ConfigError(f"{where}: fill_color = {fill!r}; expected a gray value from 0 to 255")
    return ImagePrepareConfig(
        size=image_size,
        resize_mode=mode,
        interpolation="bilinear" if interpolation == "bilinear" else "bicubic",  # "random" means bicubic
        mean=_three(preprocessor["mean"], "mean"),
        std=_three(preprocessor["std"], "std"),
        fill=fill,
    )


def _inherit(text: Mapping[str, Any]) -> dict[str, Any]:
    """The transformer's settings: those of jina-embeddings-v3, overridden by hf_model_config_kwargs."""
    own = _section(text, "hf_model_config_kwargs", CLIP_TEXT)
    check_options(replace(TRANSFORMER, where=f"{CLIP_TEXT.where}: hf_model_config_kwargs"), own)
    base = text.get("hf_model_name_or_path")
    inherited = sorted(set(EMBEDDINGS_V3) - set(own))
    if base != "jinaai/jina-embeddings-v3" and inherited:
        raise ConfigError(
            f"{CLIP_TEXT.where}: hf_model_name_or_path = {base!r}: only the settings of jinaai/jina-embeddings-v3 "
            f"are known; for another base hf_model_config_kwargs must give {', '.join(inherited)}"
        )
    return {**EMBEDDINGS_V3, **own}


def _text_tower(config: Mapping[str, Any], *, embed_dim: int, proj_type: Any) -> TextTowerConfig:
    if proj_type not in (None, "linear"):
        raise ConfigError(f"{CLIP_TEXT.where}: proj_type = {proj_type!r} is not supported; null and 'linear' are")
    integer = {name: _integer(config, name, TRANSFORMER) for name in _TEXT_SIZES}
    tasks = config.get("lora_adaptations")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, str) for task in tasks):
        raise ConfigError(f"{TRANSFORMER.where}: lora_adaptations = {tasks!r}; expected a list of task names")
    return TextTowerConfig(
        vocab_size=integer["vocab_size"],
        width=integer["hidden_size"],
        num_layers=integer["num_hidden_layers"],
        num_heads=integer["num_attention_heads"],
        hidden=integer["intermediate_size"],
        embed_dim=embed_dim,
        rotary_base=_number(config, "rotary_emb_base", TRANSFORMER),
        norm_eps=_number(config, "layer_norm_eps", TRANSFORMER),
        pad_id=_integer(config, "pad_token_id", TRANSFORMER),
        num_token_types=integer["type_vocab_size"],
        projection=proj_type == "linear" or integer["hidden_size"] != embed_dim,
        adapters=AdapterConfig(
            tasks=tuple(tasks),
            rank=_integer(config, "lora_rank", TRANSFORMER),
            alpha=_number(config, "lora_alpha", TRANSFORMER),
        ),
    )


_TEXT_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "type_vocab_size",
)


def _vision_tower(config: Mapping[str, Any]) -> Eva02VisionConfig:
    check_options(CLIP_VISION, config)
    missing = [name for name in CLIP_VISION.fixed if name not in config]
    if missing:
        raise ConfigError(f"{CLIP_VISION.where}: {', '.join(missing)} missing; nothing is guessed")
    width = _integer(config, "width", CLIP_VISION)
    if config.get("embed_dim") != width:
        raise ConfigError(
            f"{CLIP_VISION.where}: embed_dim = {config.get('embed_dim')!r} differs from width {width}; "
            "an image projection is not supported"
        )
    return Eva02VisionConfig(
        image_size=_integer(config, "image_size", CLIP_VISION),
        width=width,
        num_layers=_integer(config, "layers", CLIP_VISION),
        head_width=_integer(config, "head_width", CLIP_VISION),
        hidden=int(width * _number(config, "mlp_ratio", CLIP_VISION)),
        patches=LinearPatchesConfig(size=_integer(config, "patch_size", CLIP_VISION)),
        pretrained_grid=_integer(config, "pt_hw_seq_len", CLIP_VISION),
    )


def _text_prepare(
    config: Mapping[str, Any], tower: TextTowerConfig, tokenizer: Mapping[str, Any] | None
) -> TextPrepareConfig:
    """The whole context, unless tokenizer_config.json says less. Its other keys repeat tokenizer.json, which counts."""
    instructions = config.get("task_instructions")
    if not isinstance(instructions, dict) or not all(isinstance(prefix, str) for prefix in instructions.values()):
        raise ConfigError(f"{TRANSFORMER.where}: task_instructions = {instructions!r}; expected tasks and prefixes")
    assert tower.adapters is not None
    context = _integer(config, "max_position_embeddings", TRANSFORMER) - _SPARE_POSITIONS
    limit = (tokenizer or {}).get("model_max_length")
    max_tokens = context if limit is None else int(min(context, limit))
    if max_tokens < 3:
        raise ConfigError(f"{max_tokens} tokens hold no text; see max_position_embeddings and model_max_length")
    return TextPrepareConfig(
        max_tokens=max_tokens,
        pad_id=tower.pad_id,
        instructions=dict(instructions),
        adapters=tower.adapters.tasks,
    )


def _default_task(text: Mapping[str, Any], prepare: TextPrepareConfig) -> str | None:
    task = text.get("default_instruction_task")
    if task is not None and task not in prepare.instructions:
        known = ", ".join(prepare.instructions)
        raise ConfigError(f"{CLIP_TEXT.where}: default_instruction_task = {task!r}; known tasks are {known}")
    return task


def _dims(found: Any, embed_dim: int) -> tuple[int, ...]:
    """Matryoshka widths up to the model's own (a small model may carry the large one's list), its own last."""
    if found is None:
        return (embed_dim,)
    if not isinstance(found, list) or not all(isinstance(dim, int) and dim > 0 for dim in found):
        raise ConfigError(f"config.json: matryoshka_dimensions = {found!r}; expected a list of widths")
    return (*sorted({dim for dim in found if dim < embed_dim}), embed_dim)


def _section(config: Mapping[str, Any], name: str, options: Options) -> Mapping[str, Any]:
    section = config.get(name)
    if not isinstance(section, dict):
        raise ConfigError(f"{options.where}: {name} = {section!r}; expected an object of options")
    return section


def _integer(config: Mapping[str, Any], name: str, options: Options) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"{options.where}: {name} = {value!r}; expected a whole number")
    return value


def _number(config: Mapping[str, Any], name: str, options: Options) -> float:
    value = config.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ConfigError(f"{options.where}: {name} = {value!r}; expected a number above 0")
    return float(value)


def _three(value: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(value, list | tuple) or len(value) != 3 or any(type(x) not in (int, float) for x in value):
        raise ConfigError(f"{PREPROCESSOR.where}: {name} = {value!r}; expected three numbers")
    return float(value[0]), float(value[1]), float(value[2])
