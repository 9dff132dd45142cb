"""The old trainer of the small model, stage by stage, as objectives of the new one."""

from __future__ import annotations

import torch
from recorded import RecordedStage
from replayed_configs import text_config, vision_config
from replayed_stage import (
    FROZEN,
    RecordedDraws,
    Replayed,
    Slice,
    contrast_objective,
    draws,
    objective_of,
    scored_pairs,
    stage_towers,
    texts_of,
    vectors_input,
)
from torch import nn

from babelclip.prepare.config import ImagePrepareConfig
from babelclip.towers.config import DualConfig
from babelclip.train.engine.batch import TowerInput
from babelclip.train.linear_map import LinearMap
from babelclip.train.objectives.class_names import ClassNameAgreement, ClassNameLabels, ClassNameSettings
from babelclip.train.objectives.contrast import ContrastLabels, ContrastSettings
from babelclip.train.objectives.distill_tokens import DistillTokenSettings, TokenDistillation, TokenLabels
from babelclip.train.objectives.distill_vectors import (
    Anchor,
    AnchorSettings,
    DistillVectorSettings,
    VectorDistillation,
)
from babelclip.train.objectives.objective import MatryoshkaSettings, Temperature
from babelclip.train.objectives.text_draws import TextDraw
from babelclip.train.objectives.token_alignment import Segments
from babelclip.train.stage_towers import StageTowers
from babelclip.train.tower_plan import TowerPlan

NO_TEXTS = TextDraw(sources={"recorded": 1.0})
NO_TOWER = {
    "vocab_size": 8,
    "width": 12,
    "num_layers": 1,
    "num_heads": 1,
    "hidden": 8,
    "rotary_base": 1e4,
    "projection": True,
}
"""Of a text tower that no text goes through: vectors of texts were recorded."""


def tokens_stage(recorded: RecordedStage) -> Replayed:
    """``TokenStage``: distillation of tokens."""
    meta, fixed = recorded.meta, recorded.fixed
    rates = {"embeddings.word.": 0.0, "projection.": 0.0}
    towers = _text_towers(recorded, TowerPlan(rates=rates))
    settings = DistillTokenSettings(
        kind="distill_tokens",
        name="tokens",
        texts=NO_TEXTS,
        teacher="recorded",
        layers=tuple(meta["layers"]),
        vectors_weight=meta["settings"]["vectors_weight"],
    )
    space = LinearMap(fixed["space.mean"], fixed["space.matrix"])
    objective = objective_of(TokenDistillation, settings, nn.Module(), ("text",), _spread=fixed["spread"], _map=space)

    def slices(step: int) -> list[Slice]:
        found = recorded.step(step)
        (rows,), labels = found.inputs, found.labels
        segments = Segments(labels["ours"], labels["theirs"], int(labels["number"]))
        told = TokenLabels(segments, labels["means"], labels["wholes"], labels["mask"])
        return [Slice(0, (TowerInput("text tokens", rows.rows, rows.number),), told)]

    stage = RecordedDraws(recorded.name, towers, [objective], {}, slices)
    names = ("first", "last", "distance")
    return Replayed(stage, {name: f"tokens {name}" for name in names}, _text_parameter)


def texts_stage(recorded: RecordedStage) -> Replayed:
    """``TextStage``: distillation of vectors, and scored pairs in some steps."""
    old = recorded.meta["settings"]
    plan = TowerPlan(rates={"embeddings.word.": old["words_rate"]})
    towers = _text_towers(recorded, plan)
    settings = DistillVectorSettings(
        kind="distill_vectors",
        name="text",
        texts=NO_TEXTS,
        vectors="recorded",
        matryoshka=MatryoshkaSettings(dims=tuple(recorded.meta["dims"])),
        relational_weight=old["relational_weight"],
        relational_temperature=old["relational_temperature"],
    )
    pairs = scored_pairs(name="pairs", weight=old["pairs_weight"], every=old["pairs_every"])
    objectives = [objective_of(VectorDistillation, settings, nn.Module(), ("text",)), pairs]

    def slices(step: int) -> list[Slice]:
        found = recorded.step(step)
        texts, *sides = texts_of(found.inputs)
        asked = [Slice(0, (texts,), found.labels["targets"])]
        if "scores" in found.labels:
            asked.append(Slice(1, tuple(sides), found.labels["scores"]))
        return asked

    stage = RecordedDraws(recorded.name, towers, objectives, plan.all_rates("text", towers.model.text), slices)
    figures = {"distance": "text distance", "relational": "text relational", "pairs": "pairs"}
    return Replayed(stage, figures, _text_parameter)


def images_stage(recorded: RecordedStage) -> Replayed:
    """``ImageStage``: a contrast with frozen texts, and their means and class names for the same images."""
    meta, fixed = recorded.meta, recorded.fixed
    old, dims = meta["settings"], tuple(meta["dims"])
    rates = {"patches.trunk": old["trunk_rate"], "patches.classifier": old["trunk_rate"]}
    plan = TowerPlan(frozen_blocks=meta["block"], rates=rates)
    vision = vision_config(meta["vision_config"])
    text = text_config({**NO_TOWER, "embed_dim": dims[-1]})
    state = {f"vision.{name}": tensor for name, tensor in recorded.before("module").items()}
    prepare = ImagePrepareConfig(size=meta["size"])
    towers = stage_towers(recorded, DualConfig(text=text, vision=vision, dims=dims), state, FROZEN, plan, prepare)
    contrast = ContrastSettings(
        kind="contrast",
        name="contrast",
        draws=draws(old["batch_size"]),
        temperature=Temperature(start=old["first_scale"], rate=old["scale_rate"]),
        matryoshka=MatryoshkaSettings(dims=dims),
        extra_negatives=old["bank_size"],
    )
    means = DistillVectorSettings(
        kind="distill_vectors",
        name="means",
        images_of="contrast",
        vectors="captions",
        weight=old["mean_weight"],
        matryoshka=MatryoshkaSettings(dims=dims),
    )
    names = ClassNameSettings(
        kind="class_names",
        name="names",
        images_of="contrast",
        names="recorded",
        logits="recorded",
        weight=old["names_weight"],
        scale=old["names_scale"],
        order_weight=old["names_order"],
        dims=tuple(meta["name_dims"]),
    )
    objectives = [
        contrast_objective(contrast, ("image",)),
        objective_of(VectorDistillation, means, nn.Module(), ("image",)),
        objective_of(ClassNameAgreement, names, nn.Module(), ("image",)),
    ]

    def slices(step: int) -> list[Slice]:
        found = recorded.step(step)
        (rows,), labels = found.inputs, found.labels
        maps, mask = rows.rows
        assert bool((mask == 1).all()), "the sample was recorded without dropout of features"
        bank = fixed["bank.vectors"][labels["texts"]]
        keys = torch.stack((labels["meanings"], labels["wordings"]), dim=1)
        images = TowerInput("image features", (maps,), rows.number, rows.positions)
        inputs = images, vectors_input(bank[: rows.number]), vectors_input(bank[rows.number :])
        languages = labels["languages"].tolist()
        members, vectors = (
            tuple(fixed[f"names.{language}.{what}"] for language in languages) for what in ("members", "vectors")
        )
        return [
            Slice(0, inputs, ContrastLabels(keys[: rows.number], keys)),
            Slice(1, (), labels["means"], shares=0),
            Slice(2, (), ClassNameLabels(labels["logits"], members, vectors), shares=0),
        ]

    def parameter(name: str) -> str:
        where, _, rest = name.partition(".")
        return f"vision.{rest}" if where == "module" else f"objectives.contrast.{rest}"

    stage = RecordedDraws(recorded.name, towers, objectives, plan.all_rates("vision", towers.vision), slices)
    figures = {"contrast": "contrast", "distance": "means", "names": "names", "scale": "contrast scale"}
    return Replayed(stage, figures, parameter)


def captions_stage(recorded: RecordedStage) -> Replayed:
    """``CaptionStage``: a contrast with frozen images, an anchor, and scored pairs in some steps."""
    old, dims = recorded.meta["settings"], MatryoshkaSettings(dims=tuple(recorded.meta["dims"]))
    blocks = recorded.meta["text_config"]["num_layers"]
    towers = _text_towers(recorded, TowerPlan(frozen_blocks=blocks - old["upper_layers"]))
    captions = recorded.meta["order_of_parts"].count("captions")  # the old stage cut its captions by length
    contrast = ContrastSettings(
        kind="contrast",
        name="contrast",
        draws=draws(*[old["batch_size"]] * captions),
        temperature=Temperature(start=old["first_scale"], rate=old["scale_rate"]),
        matryoshka=dims,
    )
    anchor = AnchorSettings(kind="anchor", name="anchor", texts=NO_TEXTS, weight=old["held_weight"], matryoshka=dims)
    objectives = [
        contrast_objective(contrast, ("text",), bank_is_images=True),
        objective_of(Anchor, anchor, nn.Module(), ("text",)),
        scored_pairs(name="pairs", weight=old["pairs_weight"], every=old["pairs_every"]),
    ]

    def slices(step: int) -> list[Slice]:
        found = recorded.step(step)
        labels, texts = found.labels, texts_of(found.inputs)
        own, held, sides = texts[:captions], texts[captions], texts[captions + 1 :]
        images = labels["images"].split([one.number for one in own] + [len(labels["images"]) - len(labels["meanings"])])
        inputs = [side for bank, caption in zip(images, own, strict=False) for side in (vectors_input(bank), caption)]
        keys = ContrastLabels(labels["meanings"][:, None], labels["image_meanings"][:, None])
        asked = [Slice(0, (*inputs, vectors_input(images[-1])), keys), Slice(1, (held,), labels["held"])]
        if "scores" in labels:
            asked.append(Slice(2, sides, labels["scores"]))
        return asked

    stage = RecordedDraws(recorded.name, towers, objectives, {}, slices)
    figures = {"contrast": "contrast", "moved": "anchor", "pairs": "pairs", "scale": "contrast scale"}
    return Replayed(stage, figures, _text_parameter)


def _text_towers(recorded: RecordedStage, plan: TowerPlan) -> StageTowers:
    text = text_config(recorded.meta["text_config"])
    state = {f"text.{name}": tensor for name, tensor in recorded.before("module").items()}
    return stage_towers(recorded, DualConfig(text=text, vision=None, dims=(text.embed_dim,)), state, plan, FROZEN)


def _text_parameter(name: str) -> str:
    where, _, rest = name.partition(".")
    return f"text.{rest}" if where == "module" else f"objectives.contrast.{rest}"
