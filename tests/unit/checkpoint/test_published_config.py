"""The published configuration files, what the goldens do not show of them, and what must not pass in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from babelclip.checkpoint.published_config import (
    layout_of,
    read_clip_config,
    read_embeddings_config,
    read_image_prepare,
)
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.towers.config import AdapterConfig, DualConfig

FIXTURES = Path(__file__).parents[2] / "fixtures"


def published(model: str, file: str = "config.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FIXTURES / "published" / model / file).read_text())
    return content


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The configuration with one option, a/b/c, set."""
    *sections, name = path.split("/")
    section = config
    for key in sections:
        section = section[key]
    section[name] = value
    return config


# ---------------------------------------------------------------- as published


def test_jina_clip_v2_inherits_what_its_config_does_not_say() -> None:
    config = published("jina-clip-v2")
    said = config["text_config"]["hf_model_config_kwargs"]
    assert "rotary_emb_base" not in said
    assert "hidden_size" not in said
    dual, text = read_clip_config(config, published("jina-clip-v2", "tokenizer_config.json"))
    assert dual == DualConfig.jina_clip_v2()
    assert dual.text.rotary_base == 20000.0
    assert text.max_tokens == 8192
    assert text.always_adapter == "retrieval.query"
    assert text.default_task is None
    assert dict(text.instructions) == {"retrieval.query": "Represent the query for retrieving evidence documents: "}
    assert not text.strip


def test_jina_clip_v2_preprocessing_with_its_extra_keys() -> None:
    file = published("jina-clip-v2", "preprocessor_config.json")
    assert {"auto_map", "processor_class", "image_processor_type"} <= set(file)
    assert read_image_prepare(file, 512) == ImagePrepareConfig(size=512)


def test_jina_embeddings_v3() -> None:
    config = published("jina-embeddings-v3")
    assert layout_of(config) == "jina_embeddings_v3"
    dual, text = read_embeddings_config(config, published("jina-embeddings-v3", "tokenizer_config.json"))
    tasks = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
    assert dual.vision is None
    assert dual.text.pooler
    assert dual.text.adapters == AdapterConfig(tasks=tasks, rank=4, alpha=1)
    assert dual.text.adapters.scaling == 0.25
    assert (text.adapters, text.always_adapter, text.max_tokens) == (tasks, None, 8192)
    assert text.instructions["separation"] == ""
    assert not text.strip


def test_sizes_in_the_kwargs_override_what_is_inherited() -> None:
    config = changed(published("jina-clip-v2"), "text_config/hf_model_config_kwargs/num_hidden_layers", 3)
    config = changed(config, "text_config/hf_model_config_kwargs/rotary_emb_base", 500.0)
    dual, _ = read_clip_config(config)
    assert (dual.text.num_layers, dual.text.rotary_base, dual.text.hidden) == (3, 500.0, 4096)


def test_no_tokenizer_or_preprocessor_file_gives_the_published_defaults() -> None:
    config = json.loads((FIXTURES / "goldens/v2_b/config.json").read_text())
    dual, text = read_clip_config(config)
    assert text.max_tokens == 8192
    assert dual.vision is not None
    assert read_image_prepare(None, dual.vision.image_size) == ImagePrepareConfig(size=100)


def test_a_tokenizer_config_can_only_lower_the_context() -> None:
    config = published("jina-clip-v2")
    assert read_clip_config(config, {"model_max_length": 77})[1].max_tokens == 77
    assert read_clip_config(config, {"model_max_length": int(1e30)})[1].max_tokens == 8192
    with pytest.raises(ConfigError, match="model_max_length"):
        read_clip_config(config, {"model_max_length": 2})


def test_a_small_model_drops_the_widths_that_it_does_not_have() -> None:
    config = json.loads((FIXTURES / "goldens/v3_small/config.json").read_text())
    assert read_embeddings_config(config)[0].dims == (32, 64)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("torch_dtype", "bfloat16"),
        ("use_text_flash_attn", None),
        ("use_text_flash_attn", True),
        ("use_vision_xformers", None),
        ("text_config/hf_model_config_kwargs/use_flash_attn", True),
        ("text_config/hf_model_config_kwargs/lora_dropout_p", 0.1),
        ("vision_config/x_attention", True),
        ("vision_config/fused_layer_norm", True),
        ("vision_config/patch_dropout", 0.5),
        ("logit_scale_init_value", 1.0),
        ("transformers_version", "4.48.3"),
        ("text_config/_name_or_path", ""),
    ],
)
def test_options_of_no_consequence_change_nothing(path: str, value: Any) -> None:
    meant = read_clip_config(published("jina-clip-v2"))
    assert read_clip_config(changed(published("jina-clip-v2"), path, value)) == meant


# ---------------------------------------------------------------- what must not pass in silence


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("add_projections", True, "add_projections"),
        ("truncate_dim", 256, "truncate_dim"),
        ("invented", 1, "invented = 1"),
        ("text_config/proj_type", "mlp", "proj_type"),
        ("text_config/proj_bias", True, "proj_bias"),
        ("text_config/pooler_type", "cls_pooler", "pooler_type"),
        ("text_config/default_lora_task", None, "default_lora_task"),
        ("text_config/default_lora_task", "separation", "default_lora_task"),
        ("text_config/default_instruction_task", "separation", "default_instruction_task"),
        ("text_config/hf_model_name_or_path", "xlm-roberta-base", "xlm-roberta-base.*rotary_emb_base"),
        ("text_config/invented", None, "invented"),
        ("text_config/hf_model_config_kwargs/invented", 1, "hf_model_config_kwargs: unknown option invented"),
        ("text_config/hf_model_config_kwargs/hidden_act", "relu", "hidden_act"),
        ("text_config/hf_model_config_kwargs/position_embedding_type", "absolute", "position_embedding_type"),
        ("text_config/hf_model_config_kwargs/emb_pooler", "mean", "emb_pooler"),
        ("text_config/hf_model_config_kwargs/lora_adaptations", [], "lora_adaptations"),
        ("text_config/hf_model_config_kwargs/lora_rank", "4", "lora_rank"),
        ("text_config/hf_model_config_kwargs/hidden_size", 1000.0, "hidden_size"),
        ("text_config/hf_model_config_kwargs", None, "hf_model_config_kwargs"),
        ("text_config/is_decoder", True, "is_decoder"),
        ("text_config/embed_dim", 512, "share one space"),
        ("vision_config/subln", False, "subln"),
        ("vision_config/post_norm", True, "post_norm"),
        ("vision_config/intp_freq", False, "intp_freq"),
        ("vision_config/ls_init_value", 0.1, "ls_init_value"),
        ("vision_config/naive_swiglu", False, "naive_swiglu"),
        ("vision_config/qkv_bias", False, "qkv_bias"),
        ("vision_config/rope_embeddings", False, "rope_embeddings"),
        ("vision_config/proj_type", "linear", "proj_type"),
        ("vision_config/embed_dim", 512, "embed_dim"),
        ("vision_config/image_size", [512, 512], "image_size"),
        ("vision_config/invented", False, "invented"),
        ("vision_config", None, "vision_config"),
        ("matryoshka_dimensions", 64, "matryoshka_dimensions"),
    ],
)
def test_what_was_never_checked_is_an_error_that_names_it(path: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_clip_config(changed(published("jina-clip-v2"), path, value))


@pytest.mark.parametrize("name", ["intp_freq", "subln", "head_width", "image_size", "mlp_ratio", "pt_hw_seq_len"])
def test_a_missing_vision_option_is_not_guessed(name: str) -> None:
    config = published("jina-clip-v2")
    del config["vision_config"][name]
    with pytest.raises(ConfigError, match=name):
        read_clip_config(config)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("lora_rank", None, "lora_rank"),
        ("rotary_emb_base", None, "rotary_emb_base"),
        ("task_instructions", {"retrieval.query": ""}, "same tasks"),
        ("emb_pooler", "cls", "emb_pooler"),
        ("invented", 0, "invented"),
    ],
)
def test_embeddings_options_too(name: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_embeddings_config(changed(published("jina-embeddings-v3"), name, value))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("size", 224, "takes 512"),
        ("size", {"height": 512, "width": 512}, "takes 512"),
        ("resize_mode", "stretch", "resize_mode"),
        ("interpolation", "nearest", "interpolation"),
        ("fill_color", [0, 0, 0], "fill_color"),
        ("mean", [0.5], "mean"),
        ("do_normalize", False, "do_normalize"),
        ("crop_pct", 0.9, "crop_pct"),
    ],
)
def test_preprocessing_that_we_do_not_do_is_an_error(name: str, value: Any, says: str) -> None:
    file = published("jina-clip-v2", "preprocessor_config.json") | {name: value}
    with pytest.raises(ConfigError, match=says):
        read_image_prepare(file, 512)


def test_other_modes_of_the_image_processor_are_read() -> None:
    file = published("jina-clip-v2", "preprocessor_config.json")
    read = read_image_prepare(file | {"resize_mode": "longest", "interpolation": "random", "fill_color": 9}, 512)
    assert (read.resize_mode, read.interpolation, read.fill) == ("longest", "bicubic", 9)


@pytest.mark.parametrize(
    "config",
    [{}, {"model_type": "bert"}, {"model_type": "xlm-roberta", "position_embedding_type": "absolute"}],
)
def test_other_models_are_refused_by_name(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model_type"):
        layout_of(config)
