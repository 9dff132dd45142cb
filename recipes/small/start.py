"""The model that training starts from: layers of the sentence teacher, and new blocks above a pretrained trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from babelclip.checkpoint.card import CardFacts
from babelclip.checkpoint.folder import write_folder
from babelclip.errors import ConfigError
from babelclip.prepare.config import TextPrepareConfig
from babelclip.towers.config import ConvTrunkConfig, DualConfig, Eva02VisionConfig, TextTowerConfig
from babelclip.towers.dual import DualEncoder
from babelclip.towers.patches import ConvPatches
from babelclip.towers.start import start_vision
from classifier import CLASSES, image_prepare
from pretrained import ImageTrunk, SentenceTeacher, initial_text_tensors
from vocabulary import PrunedVocabulary

HEAD_WIDTH = 64  # of the image tower


@dataclass(frozen=True, kw_only=True, slots=True)
class StartSettings:
    """Sizes of the towers that ``prepare.toml`` chooses; the others are those of the pretrained parts."""

    name: str
    seed: int  # of what is new
    vocabulary: int  # pieces that are kept
    text_layers: tuple[int, ...]  # of the teacher, from below
    rotary_base: float
    max_tokens: int
    image_size: int  # in pixels
    rotary_image_size: int  # whose grid the rotary positions are made for; others are interpolated
    vision_layers: int
    vision_hidden: int
    dims: tuple[int, ...]  # Matryoshka widths, ascending; the last is the teacher's width

    def __post_init__(self) -> None:
        if not self.text_layers or not self.dims:
            raise ConfigError("text_layers and dims must not be empty")


def start_config(settings: StartSettings, teacher: SentenceTeacher) -> DualConfig:
    """The towers' sizes."""
    text = TextTowerConfig(
        vocab_size=settings.vocabulary,
        width=teacher.width,
        num_layers=len(settings.text_layers),
        num_heads=teacher.num_heads,
        hidden=teacher.hidden,
        embed_dim=settings.dims[-1],
        rotary_base=settings.rotary_base,
        projection=True,
    )
    trunk = ConvTrunkConfig.efficientnet_lite2(classes=CLASSES)
    vision = Eva02VisionConfig(
        image_size=settings.image_size,
        width=settings.dims[-1],
        num_layers=settings.vision_layers,
        head_width=HEAD_WIDTH,
        hidden=settings.vision_hidden,
        patches=trunk,
        pretrained_grid=-(-settings.rotary_image_size // trunk.stride),
    )
    return DualConfig(text=text, vision=vision, dims=settings.dims)


def start_model(
    settings: StartSettings, teacher: SentenceTeacher, trunk: ImageTrunk, kept_pieces: Sequence[int]
) -> DualEncoder:
    """Both towers; what no pretrained part gives is random, the same for a seed.

    The image tower's classes and projection are left to ``warm_start.py``.
    """
    torch.manual_seed(settings.seed)
    model = DualEncoder(start_config(settings, teacher))
    assert model.vision is not None, "the configuration has an image tower"
    patches = model.vision.patches
    assert isinstance(patches, ConvPatches), "its trunk is convolutional"
    tensors = initial_text_tensors(teacher, kept_pieces, settings.text_layers)
    model.text.load_state_dict({**model.text.state_dict(), **tensors}, strict=True)
    start_vision(model.vision)
    patches.trunk.load_state_dict(dict(trunk.tensors), strict=True)
    return model


def write_start(folder: Path, model: DualEncoder, settings: StartSettings, vocabulary: PrunedVocabulary) -> None:
    """A model folder in float32."""
    with TemporaryDirectory() as scratch:
        tokenizer_file = Path(scratch) / "tokenizer.json"
        tokenizer_file.write_text(vocabulary.tokenizer_json, encoding="utf-8")
        write_folder(
            folder,
            name=settings.name,
            config=model.config,
            text_prepare=TextPrepareConfig(max_tokens=settings.max_tokens),
            image_prepare=image_prepare(settings.image_size),
            tensors={key: tensor.detach().float().contiguous() for key, tensor in model.state_dict().items()},
            tokenizer_file=tokenizer_file,
            card=CardFacts(license="apache-2.0", summary="Where training starts: untrained, and of no use as it is."),
        )
