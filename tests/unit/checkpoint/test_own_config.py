"""Our own configuration files: out and in again, and nothing unknown passes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.own_config import (
    config_from_json,
    config_to_json,
    preprocessing_from_json,
    preprocessing_to_json,
)
from babelclip.errors import ConfigError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import ClipVisionConfig, ConvTrunkConfig, DualConfig, Eva02VisionConfig, TextTowerConfig


def small_config() -> DualConfig:
    text = TextTowerConfig(
        vocab_size=100, width=48, num_layers=1, num_heads=2, hidden=64, embed_dim=64, rotary_base=1e4, projection=True
    )
    vision = Eva02VisionConfig(
        image_size=64,
        width=64,
        num_layers=1,
        head_width=32,
        hidden=80,
        patches=ConvTrunkConfig.efficientnet_lite2(classes=1000),
        pretrained_grid=2,
    )
    return DualConfig(text=text, vision=vision, dims=(16, 64))


def clip_config() -> DualConfig:
    text = replace(small_config().text, embed_dim=512)
    return DualConfig(text=text, vision=ClipVisionConfig.vit_b_16(), dims=(64, 512))


TEXT = TextPrepareConfig(max_tokens=64, instructions={"query": "find: "}, default_task="query", strip=True)
IMAGE = ImagePrepareConfig(size=64, resize_mode="squash", alpha="white", orientation="upright")


def through_json(content: dict[str, Any]) -> dict[str, Any]:
    back: dict[str, Any] = json.loads(json.dumps(content))
    return back


@pytest.mark.parametrize("config", [small_config(), DualConfig.jina_clip_v2(), clip_config()])
def test_a_configuration_comes_back(config: DualConfig) -> None:
    assert config_from_json(through_json(config_to_json("a name", config))) == ("a name", config)


def test_the_first_kind_of_image_tower_is_written_as_before_there_was_another() -> None:
    """The model in the box keeps its bytes, and so its fingerprint; the other kind says which it is."""
    assert "kind" not in config_to_json("a name", small_config())["vision"]
    assert config_to_json("a name", clip_config())["vision"]["kind"] == "clip"
    file = bundled_folder() / "config.json"
    content = json.loads(file.read_text())
    assert config_to_json(*config_from_json(content)) == content


@pytest.mark.parametrize("image", [IMAGE, None])
def test_preprocessing_comes_back(image: ImagePrepareConfig | None) -> None:
    assert preprocessing_from_json(through_json(preprocessing_to_json(TEXT, image))) == (TEXT, image)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("format", 2, "format 2"),
        ("model_type", "bert", "model_type"),
        ("name", "", "name"),
        ("invented", 1, "unknown invented"),
        ("text/invented", 1, "config.json: text: unknown invented"),
        ("text/width", "48", "text: width: expected a whole number, found '48'"),
        ("text/width", True, "text: width: expected a whole number, found True"),
        ("text/width", 50.0, r"text: width: expected a whole number, found 50\.0"),
        ("text/width", 47, "does not divide"),
        ("text/projection", 1, "projection: expected true or false, found 1"),
        ("text/adapters", {"tasks": ["a"], "rank": 4}, "adapters: missing alpha"),
        ("vision/patches", {"kind": "invented"}, "kind = 'linear' or 'conv_trunk'"),
        ("vision/patches", {"size": 14}, "kind"),
        ("vision", [], "vision: expected a table"),
        ("vision/kind", "vgg", "vision: expected a table with kind = 'eva02' or 'clip'"),
        ("vision/kind", "clip", "vision: unknown head_width, patches, pretrained_grid"),
        ("dims", [16, "64"], r"dims\[1\]"),
        ("dims", 64, "expected a list"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, says: str) -> None:
    content = through_json(config_to_json("a name", small_config()))
    *sections, name = path.split("/")
    section = content
    for key in sections:
        section = section[key]
    section[name] = value
    with pytest.raises(ConfigError, match=says):
        config_from_json(content)


@pytest.mark.parametrize(
    ("where", "name", "value", "says"),
    [
        ("image", "resize_mode", "stretch", "resize_mode: expected one of .*, found 'stretch'"),
        ("image", "mean", [0.5, 0.5], "expected a list of 3"),
        ("text", "instructions", {"query": 3}, "instructions"),
        ("text", "max_tokens", None, "max_tokens: expected a whole number, found None"),
    ],
)
def test_a_wrong_field_of_the_preprocessing_is_named(where: str, name: str, value: Any, says: str) -> None:
    content = through_json(preprocessing_to_json(TEXT, IMAGE))
    content[where][name] = value
    with pytest.raises(ConfigError, match=says):
        preprocessing_from_json(content)


def test_a_missing_field_is_named() -> None:
    content = through_json(config_to_json("a name", small_config()))
    del content["text"]["rotary_base"]
    with pytest.raises(ConfigError, match="missing rotary_base"):
        config_from_json(content)
    with pytest.raises(ConfigError, match=r"missing image; found here: text"):
        preprocessing_from_json({"text": {}})
