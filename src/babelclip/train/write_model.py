"""Out of trained towers into model folders: int8 as shipped, float32 to compare with and to go on training from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.checksums import write_checksums
from babelclip.checkpoint.folder import quantized_tensors, write_folder
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.dual import DualEncoder
from babelclip.train.features import PIXEL_MEAN, PIXEL_STD
from babelclip.train.sources import Manifest, Source, notice

NOTICE_FILE = "NOTICE"
TRUNK = "vision.patches.trunk."
WORDS = "text.embeddings.word.weight"
SMALL_FILTER = (
    50_000  # weights of a convolution that stays float16: together half a megabyte, most of the rounding error
)
LIMITS = (
    "Its image trunk has seen ImageNet-1k with labels, the trunk's classifier is part of the tower, and the image "
    "stages learned the names of its 1,000 classes: on sets like ImageNet it recognises by name what it was taught; "
    "that is not zero-shot in the strict sense.",
    "It is small: expect it to miss details, counts, spatial relations and written words in pictures.",
    "It was trained on few photos (about ten thousand with captions), most of everyday scenes with people and dogs.",
    "Languages are not equal: those with captions in the training data are best, rare ones know mostly names.",
)


def write_model(
    model: DualEncoder,
    *,
    name: str,
    max_tokens: int,
    languages: tuple[str, ...],
    manifest: Manifest,
    tokenizer_file: Path,
    out: Path,
    int4_words: bool = False,
    results: tuple[tuple[str, str], ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write ``<out>/model`` (int8) and ``<out>/model-float32``; returns the first.

    Raises: WeightsError or ConfigError when the towers do not make a whole model.
    """
    assert model.config.vision is not None, "a model for texts and images is written here"
    tensors = {key: tensor.detach().float().contiguous() for key, tensor in model.state_dict().items()}
    card = CardFacts(
        license="apache-2.0",
        summary="A small multilingual text and image embedding model, trained by this project's own trainer on CPU.",
        languages=languages,
        parents=tuple(_line(source) for source in manifest.pretrained),
        data=tuple(_line(source) for source in (*manifest.images, *manifest.texts)),
        results=results,
        limits=LIMITS,
        notice=f"The file {NOTICE_FILE} says what the weights were trained on and under which terms the photos stand. "
        "Many of these terms allow research only.",
    )
    channel_mean, channel_std = PIXEL_MEAN / 255, PIXEL_STD / 255
    image_prepare = ImagePrepareConfig(
        size=model.config.vision.image_size,
        resize_mode="squash",
        mean=(channel_mean, channel_mean, channel_mean),
        std=(channel_std, channel_std, channel_std),
        alpha="white",
        orientation="upright",
    )
    shipped = shipped_tensors(tensors, int4_words=int4_words)
    for folder, stored in ((out / "model", shipped), (out / "model-float32", tensors)):
        say(f"writing {folder}")
        write_folder(
            folder,
            name=name,
            config=model.config,
            text_prepare=TextPrepareConfig(max_tokens=max_tokens),
            image_prepare=image_prepare,
            tensors=stored,
            tokenizer_file=tokenizer_file,
            card=card,
            overwrite=True,
        )
        (folder / NOTICE_FILE).write_text(notice(name, manifest), encoding="utf-8")
        write_checksums(folder)
    return out / "model"


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


def _line(source: Source) -> str:
    return f"{source.name}: {source.what}. From {source.origin}. Terms: {source.terms}"
