"""Two recorded stages in the old trainer itself, for ``speed.py``: its engine, towers, encoding and losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from babelclip.train.batch import Batch, Part
from babelclip.train.contrast_stage import encode_patches
from babelclip.train.lora import add_lora
from babelclip.train.losses import cosent, cosine_distance, matryoshka, relational, symmetric_info_nce
from babelclip.train.short_attention import short_attention
from recorded import RecordedStage
from replayed_configs import text_config, vision_config
from torch import Tensor, nn

from babelclip.towers.config import DualConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.text import TextTower


class OldStage:
    """A ``Stage`` of the old engine: ``text``, or ``contrast_finetune_lora``."""

    def __init__(self, folder: Path) -> None:
        recorded = self._recorded = RecordedStage(folder)
        self.meta, self.name, self.rates = recorded.meta, recorded.name, recorded.meta["rates"]
        self._is_text = self.meta["stage"] == "TextStage"
        self.module = self._text() if self._is_text else self._towers()
        self.module.load_state_dict(recorded.before("module"), strict=True)
        self.head = nn.Module()
        self.head.log_scale = nn.Parameter(next(iter(recorded.before("head").values()), torch.zeros(())))
        trained = {name.removeprefix("module.") for name in self.meta["trained"]}
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name in trained)

    def _text(self) -> TextTower:
        return TextTower(text_config(self.meta["text_config"]))

    def _towers(self) -> DualEncoder:
        sizes, plan = self.meta["config"], self.meta["plan"]
        text, vision = text_config(sizes["text"]), vision_config(sizes["vision"])
        towers = DualEncoder(DualConfig(text=text, vision=vision, dims=tuple(sizes["dims"])))
        add_lora(towers.text, plan["text"]["rank"], plan["text"]["alpha"])
        add_lora(towers.vision, plan["image"]["rank"], plan["image"]["alpha"])
        return towers

    def draw(self, step: int, ranks: Any) -> Batch:
        """The recorded batch, the frozen trunk's features in place of crops."""
        found = self._recorded.step(step)
        parts = []
        for place, one in enumerate(found.inputs):
            rows = (found.labels[f"features.{place}"],) if one.kind == "image" else one.rows
            parts.append(Part(one.kind, rows, one.number, one.positions))
        return Batch(tuple(parts), found.labels)

    def encode(self, part: Part) -> Tensor:
        """As each of the old stages does."""
        if self._is_text:
            with short_attention():
                return self.module(*part.rows)
        if part.kind == "text":
            return self.module.text(*part.rows)
        vision = self.module.vision
        return encode_patches(vision, vision.patches.from_features(*part.rows), part.keep)

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """As each of the old stages does, figures included."""
        settings, labels = self.meta.get("settings"), batch.labels
        if not self._is_text:
            scale = self.head.log_scale.clamp(max=4.6).exp()
            dims = (vectors[0].shape[-1],)
            compare = partial(symmetric_info_nce, keys=labels["captions.keys"], scale=scale)
            found = matryoshka(compare, *vectors, dims)
            return found, {"captions": found.item(), "captions scale": scale.item()}
        texts, *pairs = vectors
        distance = matryoshka(cosine_distance, texts, labels["targets"], self.meta["dims"])
        relation = partial(relational, temperature=settings["relational_temperature"])
        related = matryoshka(relation, texts, labels["targets"], self.meta["relational_dims"])
        total = distance + settings["relational_weight"] * related
        figures = {"distance": distance.item(), "relational": related.item()}
        if "scores" in labels:
            ordered = cosent(*pairs, labels["scores"])
            total = total + settings["pairs_weight"] * ordered
            figures["pairs"] = ordered.item()
        return total, figures

    def evaluate(self) -> dict[str, float]:
        """Nothing."""
        return {}
