"""A model back into the published layout: the exact key names, and a configuration that says everything itself."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from babelclip.atomic_write import write_json
from babelclip.checkpoint.folder import (
    CONFIG,
    PREPROCESSOR_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    ModelFolder,
    as_entries,
    check_agreement,
    read_folder,
    whole_folder,
)
from babelclip.checkpoint.names import Layout, match_tensors, tensor_specs
from babelclip.checkpoint.published_options import CLIP_TEXT, CLIP_TOP, CLIP_VISION, EMBEDDINGS_V3, Options
from babelclip.checkpoint.quantized import SCALE_SUFFIX, dequantize, is_quantized
from babelclip.checkpoint.weights import StoredTensor, to_stored, write_safetensors
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import AdapterConfig, DualConfig, Eva02VisionConfig, LinearPatchesConfig

_TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_BASE = "jinaai/jina-embeddings-v3"
_CODE = "jinaai/jina-clip-implementation--"  # where transformers finds the classes of model_type jina_clip
_V3_CODE = "jinaai/xlm-roberta-flash-implementation--"


def write_published(
    path: str | Path,
    *,
    config: DualConfig,
    text_prepare: TextPrepareConfig,
    image_prepare: ImagePrepareConfig | None,
    tensors: Mapping[str, Any],
    tokenizer_file: Path,
    overwrite: bool = False,
) -> ModelFolder:
    """Write the layout of jina-clip-v2 (or of jina-embeddings-v3 for a text-only model), whole or not at all.

    `tensors` as for `write_folder`; dtypes and bits are kept, quantized ones become float32. A model without adapters
    (merged) gets one of rank 1 that is all zeros, because the published code always has one: the sum is the same.
    tokenizer_config.json and special_tokens_map.json are taken along where they lie beside `tokenizer_file`.

    Raises:
        ConfigError: a part or a setting of the model that the published layout cannot express.
        WeightsError: tensors missing, left over, or of a wrong shape.
        FolderError: `path` is in use.
    """
    check_agreement(config, text_prepare, image_prepare)
    stored = {name: to_stored(tensor) for name, tensor in tensors.items()}
    match_tensors(tensor_specs(config), as_entries(stored), "the model to be written")
    stored = _dequantized(stored)
    layout: Layout = "jina_embeddings_v3" if config.vision is None else "jina_clip"
    if config.text.adapters is None and layout == "jina_clip":
        config, text_prepare, stored = _with_zero_adapter(config, text_prepare, stored)
    published = {spec.published: stored[spec.name] for spec in tensor_specs(config, layout)}
    dtype = _TORCH_NAMES[stored["text.embeddings.word.weight"].dtype]
    with whole_folder(Path(path), overwrite=overwrite) as temporary:
        if config.vision is None:
            write_json(temporary / CONFIG, embeddings_config(config, text_prepare, dtype))
        else:
            assert image_prepare is not None
            write_json(temporary / CONFIG, clip_config(config, text_prepare, dtype))
            write_json(temporary / PREPROCESSOR_CONFIG, preprocessor_config(image_prepare))
        write_safetensors(temporary / WEIGHTS, published)
        shutil.copyfile(tokenizer_file, temporary / TOKENIZER)
        for name in (TOKENIZER_CONFIG, "special_tokens_map.json"):
            if (tokenizer_file.parent / name).is_file():
                shutil.copyfile(tokenizer_file.parent / name, temporary / name)
        _check_says_the_same(read_folder(temporary), config, text_prepare, image_prepare)
    return read_folder(path)


def _check_says_the_same(
    folder: ModelFolder, config: DualConfig, text: TextPrepareConfig, image: ImagePrepareConfig | None
) -> None:
    """What was written must read back as what was meant; a setting that got lost has no place in the layout."""
    folder.tensor_index()
    for what, written, meant in (
        ("the model", replace(folder.config, dims=config.dims), config),
        ("text preprocessing", folder.text_prepare, text),
        ("image preprocessing", folder.image_prepare, image),
    ):
        if written != meant:
            raise ConfigError(f"the published layout cannot express {what}: meant {meant}, it reads back as {written}")


def _dequantized(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    floats = {}
    for name, tensor in stored.items():
        if is_quantized(tensor.dtype):
            floats[name] = to_stored(dequantize(tensor.dtype, tensor.array, stored[name + SCALE_SUFFIX].array))
        elif not name.endswith(SCALE_SUFFIX):
            floats[name] = tensor
    return floats


def _with_zero_adapter(
    config: DualConfig, prepare: TextPrepareConfig, stored: dict[str, StoredTensor]
) -> tuple[DualConfig, TextPrepareConfig, dict[str, StoredTensor]]:
    task = next(iter(prepare.instructions), "retrieval.query")
    adapters = AdapterConfig(tasks=(task,), rank=1, alpha=1)
    config = replace(config, text=replace(config.text, adapters=adapters))
    word = stored["text.embeddings.word.weight"]
    zeros = {
        spec.name: StoredTensor(word.dtype, np.zeros(spec.shape, word.array.dtype))
        for spec in tensor_specs(config)
        if spec.name not in stored
    }
    return config, replace(prepare, adapters=(task,), always_adapter=task), stored | zeros


# ---------------------------------------------------------------- configuration files


def clip_config(config: DualConfig, prepare: TextPrepareConfig, dtype: str) -> dict[str, Any]:
    """config.json of model_type jina_clip, with every setting that the published one inherits written out."""
    if not isinstance(config.vision, Eva02VisionConfig) or prepare.always_adapter is None:
        raise ConfigError("the layout of jina-clip-v2 needs an EVA02 image tower and an adapter that is always on")
    text = {
        **_fixed(CLIP_TEXT),
        "model_type": "jina_clip_text",
        "hf_model_name_or_path": _BASE,
        "hf_model_config_kwargs": _transformer(config, prepare) | {"load_trained_adapters": False},
        "embed_dim": config.text.embed_dim,
        "proj_type": "linear" if config.text.projection else None,
        "default_lora_task": prepare.always_adapter,
        "default_instruction_task": prepare.default_task,
    }
    return {
        **_fixed(CLIP_TOP),
        "architectures": ["JinaCLIPModel"],
        "auto_map": {
            "AutoConfig": f"{_CODE}configuration_clip.JinaCLIPConfig",
            "AutoModel": f"{_CODE}modeling_clip.JinaCLIPModel",
        },
        "model_type": "jina_clip",
        "projection_dim": config.embed_dim,
        "matryoshka_dimensions": list(config.dims),
        "torch_dtype": dtype,
        "use_text_flash_attn": None,
        "use_vision_xformers": None,
        "text_config": text,
        "vision_config": _vision(config.vision),
    }


def embeddings_config(config: DualConfig, prepare: TextPrepareConfig, dtype: str) -> dict[str, Any]:
    """config.json of jina-embeddings-v3."""
    return {
        **_transformer(config, prepare),
        "architectures": ["XLMRobertaModel"],
        "auto_map": {
            "AutoConfig": f"{_V3_CODE}configuration_xlm_roberta.XLMRobertaFlashConfig",
            "AutoModel": f"{_V3_CODE}modeling_lora.XLMRobertaLoRA",
        },
        "load_trained_adapters": True,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "matryoshka_dimensions": list(config.dims),
        "torch_dtype": dtype,
        "truncate_dim": None,
    }


def preprocessor_config(image: ImagePrepareConfig) -> dict[str, Any]:
    """preprocessor_config.json."""
    return {
        "auto_map": {
            "AutoImageProcessor": f"{_CODE}processing_clip.JinaCLIPImageProcessor",
            "AutoProcessor": f"{_CODE}processing_clip.JinaCLIPProcessor",
        },
        "image_processor_type": "JinaCLIPImageProcessor",
        "processor_class": "JinaCLIPProcessor",
        "size": image.size,
        "resize_mode": image.resize_mode,
        "interpolation": image.interpolation,
        "mean": list(image.mean),
        "std": list(image.std),
        "fill_color": image.fill,
    }


def _fixed(options: Options) -> dict[str, Any]:
    return {name: values[0] for name, values in options.fixed.items()}


def _transformer(config: DualConfig, prepare: TextPrepareConfig) -> dict[str, Any]:
    text = config.text
    if text.adapters is None:
        raise ConfigError("the layout of jina-embeddings-v3 needs adapters")
    fixed = {name: EMBEDDINGS_V3[name] for name in ("hidden_act", "position_embedding_type", "emb_pooler")}
    return fixed | {
        "vocab_size": text.vocab_size,
        "hidden_size": text.width,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "intermediate_size": text.hidden,
        "layer_norm_eps": text.norm_eps,
        "rotary_emb_base": text.rotary_base,
        "pad_token_id": text.pad_id,
        "type_vocab_size": text.num_token_types,
        "max_position_embeddings": prepare.max_tokens + 2,
        "lora_adaptations": list(text.adapters.tasks),
        "lora_rank": text.adapters.rank,
        "lora_alpha": text.adapters.alpha,
        "lora_dropout_p": 0.0,
        "lora_main_params_trainable": False,
        "task_instructions": dict(prepare.instructions),
        "use_flash_attn": True,
    }


def _vision(vision: Eva02VisionConfig) -> dict[str, Any]:
    assert isinstance(vision.patches, LinearPatchesConfig)  # tensor_specs refused a trunk
    # as published where it fits; the reader takes int(width * ratio)
    ratios = (2.6667, (vision.hidden + 0.5) / vision.width)
    return {
        **_fixed(CLIP_VISION),
        "model_type": "jina_clip_vision",
        "embed_dim": vision.width,
        "width": vision.width,
        "head_width": vision.head_width,
        "layers": vision.num_layers,
        "image_size": vision.image_size,
        "patch_size": vision.patches.size,
        "pt_hw_seq_len": vision.pretrained_grid,
        "mlp_ratio": next(ratio for ratio in ratios if int(vision.width * ratio) == vision.hidden),
        "patch_dropout": 0.1,
        "fused_layer_norm": False,
        "x_attention": True,
    }
