"""Configurations of towers from what was recorded; both trainers' code has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from babelclip.towers.config import ConvStage, ConvTrunkConfig, LinearPatchesConfig, TextTowerConfig, VisionTowerConfig


def text_config(fields: Mapping[str, Any]) -> TextTowerConfig:
    """From JSON."""
    return TextTowerConfig(**fields)


def vision_config(fields: Mapping[str, Any]) -> VisionTowerConfig:
    """From JSON."""
    patches = dict(fields["patches"])
    if "stages" in patches:
        stages = tuple(ConvStage(**stage) for stage in patches.pop("stages"))
        return VisionTowerConfig(**{**fields, "patches": ConvTrunkConfig(**patches, stages=stages)})
    return VisionTowerConfig(**{**fields, "patches": LinearPatchesConfig(**patches)})
