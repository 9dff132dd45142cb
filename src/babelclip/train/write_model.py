"""Out of trained towers into a model folder: in the layout, and with the number types, that the recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from babelclip.checkpoint.card import CardFacts, license_of
from babelclip.checkpoint.convert import state_tensors
from babelclip.checkpoint.folder import CARD, NOTICE, ModelFolder, quantized_tensors, write_folder
from babelclip.checkpoint.quantized import INT4, INT8
from babelclip.checkpoint.write_published import write_published
from babelclip.decode import decode, read_toml
from babelclip.errors import ConfigError, DatasetError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.towers.dual import DualEncoder
from babelclip.train.recipe import Recipe, WriteSettings

TRUNK = "vision.patches.trunk."
WORDS = "text.embeddings.word.weight"
SMALL_FILTER = 50_000
"""Weights of a trunk's convolution that stays float16: together half a megabyte, most of the rounding error."""
_Results = Sequence[tuple[str, str]]
"""For the card: what, figure."""


def write_model(
    towers: DualEncoder,
    image_prepare: ImagePrepareConfig | None,
    recipe: Recipe,
    start: ModelFolder,
    data: Path,
    out: Path,
    *,
    results: _Results = (),
) -> None:
    """Write the trained model.

    Args:
        towers: On any device.
        image_prepare: As the last stage had it.
        recipe: Says how (``WriteSettings``).
        start: What the run began with.
        data: The folder that the recipe's paths are relative to.
        out: The new model folder; one that is there is replaced.
        results: For its card.

    Raises:
        ConfigError: The recipe asks for what the layout of the start does not have, or the card lacks something.
        DatasetError: There is no file of the card or the notice.
        WeightsError: The towers do not make a whole model.
    """
    settings, tensors = recipe.write, {name: tensor.cpu() for name, tensor in state_tensors(towers).items()}
    check_write(recipe, start, data)
    if start.layout != "babelclip":
        dtype = _dtype_of(start)
        write_published(
            out,
            config=towers.config,
            text_prepare=start.text_prepare,
            image_prepare=image_prepare,
            tensors={name: tensor.to(dtype) for name, tensor in tensors.items()},
            tokenizer_file=start.tokenizer_file,
            overwrite=True,
        )
        return
    write_folder(
        out,
        name=settings.name or f"{start.name}-tuned",
        config=towers.config,
        text_prepare=start.text_prepare,
        image_prepare=image_prepare,
        tensors=_stored(tensors, settings, start),
        tokenizer_file=start.tokenizer_file,
        card=_card(recipe, start, data, results),
        notice=_notice(settings, start, data),
        overwrite=True,
    )


def check_write(recipe: Recipe, start: ModelFolder, data: Path) -> None:
    """Make sure before training that the model can be written as the recipe says; fails as ``write_model`` does."""
    if start.layout != "babelclip":
        if recipe.write != WriteSettings():
            raise ConfigError(f"[write] is for babelclip's own layout; {start.path} is written back as {start.layout}")
        return
    _card(recipe, start, data, ())
    _notice(recipe.write, start, data)


def shipped_tensors(tensors: Mapping[str, Tensor], *, int4_words: bool) -> dict[str, Any]:
    """int8, but the trunk's stem, depthwise and lower filters as float16, and the table of words perhaps as int4.

    Errors there go through everything above; benchmarks/int8_agreement.py measures what is left of them.
    """
    small = {
        name
        for name, tensor in tensors.items()
        if name.startswith(TRUNK) and tensor.ndim == 4 and tensor.numel() <= SMALL_FILTER
    }
    rounded = {name: tensor.half() if name in small else tensor for name, tensor in tensors.items()}
    return quantized_tensors(rounded, keep=frozenset(small), int4=frozenset({WORDS} if int4_words else ()))


def card_results(report: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    """Lines of a card out of what ``held_out.compare`` found."""
    return [
        (
            f"held-out images, {name.replace('_', ' ').replace(' recall@', ' R@')} ({row['queries']:,} queries)",
            f"{row['after']:.1f}; before {row['before']:.1f}, difference {row['low']:+.1f} to {row['high']:+.1f} (95%)",
        )
        for name, row in report.items()
    ]


def _stored(tensors: Mapping[str, Tensor], settings: WriteSettings, start: ModelFolder) -> Mapping[str, Any]:
    storage = settings.storage
    if storage == "as_before":
        before = {name: entry.dtype for name, entry in start.tensor_index().items()}
        words = "_int4_words" if before[WORDS] == INT4 else ""
        storage = f"int8{words}" if INT8 in before.values() else "float32"  # type: ignore[assignment]
    if storage == "float32":
        return {name: tensor.float() for name, tensor in tensors.items()}
    return shipped_tensors(tensors, int4_words=storage == "int8_int4_words")


def _card(recipe: Recipe, start: ModelFolder, data: Path, results: _Results) -> CardFacts:
    if recipe.write.card:
        file = data / recipe.write.card
        if not file.is_file():
            raise DatasetError(f"[write] card = {recipe.write.card!r}: there is no file {file}")
        return replace(decode(CardFacts, read_toml(file), file.name), results=tuple(results))
    stages = ", ".join(stage.name for stage in recipe.stages)
    return CardFacts(
        license=license_of(start.path / CARD),
        summary=f"{start.name}, trained on with babelclip's own trainer (stages: {stages}).",
        parents=(f"{start.name}, fingerprint {start.fingerprint()}",),
        data=(f"images and texts of {data.resolve().name}; whoever trained it knows their terms",),
        results=results,
    )


def _notice(settings: WriteSettings, start: ModelFolder, data: Path) -> str:
    file = data / settings.notice if settings.notice else start.path / NOTICE
    if settings.notice and not file.is_file():
        raise DatasetError(f"[write] notice = {settings.notice!r}: there is no file {file}")
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _dtype_of(model: ModelFolder) -> torch.dtype:
    """Number type of the stored weights."""
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return kinds[model.tensor_index()[WORDS].dtype]
