"""The model card (README.md of a model folder), from a template and facts: nothing in it is typed by hand twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.checkpoint.hub_modules import hub_module
from babelclip.checkpoint.names import tensor_specs
from babelclip.errors import FolderError
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import ClipVisionConfig, ConvTrunkConfig, DualConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """What the weights' makers know and the folder does not."""

    license: str  # as the Hub spells it: apache-2.0, cc-by-nc-4.0, ...
    summary: str  # one or two sentences
    languages: Sequence[str] = ()  # codes
    parents: Sequence[str] = ()  # pretrained parts: name, origin, license; one line each
    data: Sequence[str] = ()  # what it was trained on and under which terms; one line each
    results: Sequence[tuple[str, str]] = ()  # (what, figure)
    limits: Sequence[str] = ()  # what it cannot do; one line each
    notice: str = ""  # a text of its own, for example on the terms of the training photos


def make_card(
    name: str, config: DualConfig, text: TextPrepareConfig, image: ImagePrepareConfig | None, facts: CardFacts
) -> str:
    """The whole README.md, with the Hub's metadata block at its head."""
    parts = [_metadata(facts), f"# {name}\n\n{facts.summary}\n", _use(name, config), _sizes(config, text, image)]
    if facts.results:
        rows = "\n".join(f"| {what} | {figure} |" for what, figure in facts.results)
        parts.append(f"## Results\n\n| what | figure |\n|---|---|\n{rows}\n")
    for heading, lines in (("Limits", facts.limits), ("Made from", facts.parents), ("Training data", facts.data)):
        if lines:
            parts.append(f"## {heading}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n")
    if facts.notice:
        parts.append(f"## Notice\n\n{facts.notice}\n")
    parts.append(f"## License\n\n{facts.license}\n")
    return "\n".join(parts)


def license_of(card: Path) -> str:
    """What a model card says in its metadata block, as the Hub spells it; "other" where it says nothing.

    Raises:
        FolderError: the block is no YAML.
    """
    if not card.is_file():
        return "other"
    try:
        block = hub_module("repocard").metadata_load(card)
    except Exception as error:  # the YAML library's own, and ValueError for what is no table
        raise FolderError(f"{card}: expected YAML between --- and --- at its head: {error}") from error
    return str((block or {}).get("license") or "other")


def _metadata(facts: CardFacts) -> str:
    block: dict[str, Any] = {"license": facts.license, "library_name": "babelclip"}
    if facts.languages:
        block["language"] = list(facts.languages)
    return f"---\n{hub_module('utils').yaml_dump(block, sort_keys=False)}---\n"


def _use(name: str, config: DualConfig) -> str:
    image = "" if config.vision is None else 'images = encoder.encode_image(["bridge.jpg"])\n'
    return (
        "## Use\n\n```python\nimport babelclip\n\n"
        f'encoder = babelclip.load("path/to/{name}")\ntexts = encoder.encode_text(["a bridge at dawn"])\n{image}```\n'
    )


def _sizes(config: DualConfig, text: TextPrepareConfig, image: ImagePrepareConfig | None) -> str:
    count = sum(math.prod(spec.shape) for spec in tensor_specs(config))
    rows = [
        ("parameters", f"{count:,}"),
        ("vector widths", ", ".join(map(str, config.dims))),
        ("longest text", f"{text.max_tokens:,} tokens"),
        ("text tower", f"{config.text.num_layers} blocks of width {config.text.width}"),
        ("vocabulary", f"{config.text.vocab_size:,} pieces"),
    ]
    if config.vision is not None:
        patches, blocks = config.vision.patches, f"{config.vision.num_layers} blocks of width {config.vision.width}"
        kind = "linear patches"
        if isinstance(config.vision, ClipVisionConfig):
            kind = f"CLIP's vision transformer, patches of {config.vision.patch_size} pixels"
        if isinstance(patches, ConvTrunkConfig):
            classifier = f" with its classifier of {patches.classes:,}" if patches.classes else ""
            kind = f"convolutional trunk{classifier}"
        rows.append(("image tower", f"{kind}, {blocks}"))
    if image is not None:
        rows.append(("image size", f"{image.size} x {image.size} pixels ({image.resize_mode})"))
    if text.adapters:
        rows.append(("adapters", ", ".join(text.adapters)))
    if text.instructions:
        rows.append(("tasks", ", ".join(text.instructions)))
    return "## The model\n\n| | |\n|---|---|\n" + "\n".join(f"| {what} | {value} |" for what, value in rows) + "\n"
