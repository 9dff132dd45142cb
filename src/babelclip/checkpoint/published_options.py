"""What every option of the published configuration files means to us: read, fixed, or of no consequence.

Nothing is swallowed in silence. An option that changes vectors and that no recorded output of the reference exercises
must have its published value; an option that is in no table here is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from babelclip.errors import ConfigError

# jina-clip-v2's text tower starts from jina-embeddings-v3's config.json, which is not in its folder, and then takes
# every key of hf_model_config_kwargs. These are the values that it inherits, above all the rotary base of 20000.
EMBEDDINGS_V3: Mapping[str, Any] = {
    "vocab_size": 250002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-5,
    "rotary_emb_base": 20000.0,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "max_position_embeddings": 8194,
    "hidden_act": "gelu",
    "position_embedding_type": "rotary",
    "emb_pooler": None,
    "lora_adaptations": ["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"],
    "lora_rank": 4,
    "lora_alpha": 1,
    "task_instructions": {
        "retrieval.query": "Represent the query for retrieving evidence documents: ",
        "retrieval.passage": "Represent the document for retrieval: ",
        "separation": "",
        "classification": "",
        "text-matching": "",
    },
}

# Written by transformers into any configuration; about generation, training, bookkeeping or how outputs are wrapped.
_TRANSFORMERS = frozenset(
    {
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "attn_implementation",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "chunk_size_feed_forward",
        "cross_attention_hidden_size",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dtype",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "id2label",
        "label2id",
        "length_penalty",
        "max_length",
        "min_length",
        "model_type",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "output_scores",
        "prefix",
        "problem_type",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict",
        "return_dict_in_generate",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tie_encoder_decoder",
        "tie_word_embeddings",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "transformers.js_config",
        "typical_p",
        "use_bfloat16",
        "use_cache",
    }
)

# Written by transformers too, and of consequence if true: the towers are encoders.
_ENCODER: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one section of a file."""

    where: str
    read: Set[str]  # taken over into our configuration
    fixed: Mapping[str, tuple[Any, ...]]  # the only values that are supported; the first is what the writer writes
    harmless: Set[str] = field(default_factory=frozenset)  # of no consequence for a vector, with the reason beside each


CLIP_TOP = Options(
    where="config.json",
    read={"matryoshka_dimensions", "text_config", "vision_config"},
    fixed={"add_projections": (False,), "truncate_dim": (None,)},
    harmless=_TRANSFORMERS
    | {
        "initializer_factor",  # fresh weights only
        "logit_scale_init_value",  # fresh weights only
        "projection_dim",  # of the projections that add_projections would add
        "pad_token_id",  # the text tower has its own
        "use_text_flash_attn",  # which kernel computes the same attention
        "use_vision_xformers",  # likewise
    },
)

CLIP_TEXT = Options(
    where="config.json: text_config",
    read={
        "default_instruction_task",
        "default_lora_task",
        "embed_dim",
        "hf_model_config_kwargs",
        "hf_model_name_or_path",
        "proj_type",
    },
    fixed={"pooler_type": ("mean_pooler",), "proj_bias": (False,)},
    harmless=_TRANSFORMERS | {"pad_token_id"},
)

_TEXT_TRAINING = frozenset(
    {
        "attention_probs_dropout_prob",
        "classifier_dropout",
        "hidden_dropout_prob",
        "initializer_range",
        "load_trained_adapters",
        "lora_dropout_p",
        "lora_main_params_trainable",
    }
)

TRANSFORMER = Options(
    where="the text transformer's configuration",
    read={
        "hidden_size",
        "intermediate_size",
        "layer_norm_eps",
        "lora_adaptations",
        "lora_alpha",
        "lora_rank",
        "matryoshka_dimensions",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "pad_token_id",
        "rotary_emb_base",
        "task_instructions",
        "type_vocab_size",
        "vocab_size",
    },
    fixed={
        "hidden_act": ("gelu",),
        "position_embedding_type": ("rotary",),
        "emb_pooler": (None,),
        "truncate_dim": (None,),
    },
    harmless=_TRANSFORMERS | _TEXT_TRAINING | {"use_flash_attn"},  # use_flash_attn: which kernel
)

CLIP_VISION = Options(
    where="config.json: vision_config",
    read={"embed_dim", "head_width", "image_size", "layers", "mlp_ratio", "patch_size", "pt_hw_seq_len", "width"},
    fixed={
        "intp_freq": (True,),
        "ls_init_value": (None,),
        "naive_swiglu": (True,),
        "post_norm": (False,),
        "proj_type": (None,),
        "qkv_bias": (True,),
        "rope_embeddings": (True,),
        "subln": (True,),
    },
    harmless=_TRANSFORMERS
    | {
        "drop_path_rate",  # training only
        "fused_layer_norm",  # which kernel
        "patch_dropout",  # training only
        "x_attention",  # which kernel
    },
)

PREPROCESSOR = Options(
    where="preprocessor_config.json",
    read={"fill_color", "interpolation", "mean", "resize_mode", "size", "std"},
    fixed={  # the reference always does these; other processors have switches for them
        "do_center_crop": (True, None),
        "do_convert_rgb": (True, None),
        "do_normalize": (True, None),
        "do_rescale": (True, None),
        "do_resize": (True, None),
    },
    harmless={
        "auto_map",
        "feature_extractor_type",
        "image_processor_type",
        "processor_class",
        "transformers_version",
        "_name_or_path",
    },
)


def check_options(options: Options, found: Mapping[str, Any]) -> None:
    """Refuse options that are unknown, and values that are not supported.

    Raises:
        ConfigError: names the option, its value and what is supported.
    """
    fixed = {**_ENCODER, **options.fixed}
    unknown = sorted(set(found) - options.read - set(fixed) - options.harmless)
    if unknown:
        raise ConfigError(
            f"{options.where}: unknown option {', '.join(f'{name} = {found[name]!r}' for name in unknown)}. "
            "It may change the vectors, so it is not ignored; remove it if it is of no consequence"
        )
    for name, supported in fixed.items():
        if name in found and not any(found[name] is value or found[name] == value for value in supported):
            raise ConfigError(
                f"{options.where}: {name} = {found[name]!r} is not supported; "
                f"the published models have {supported[0]!r} and nothing else was ever checked"
            )
