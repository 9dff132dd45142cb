"""What the trunk's classifier says of every photo, and the names of its classes in every language that has many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from babelclip.errors import DatasetError, ImageError
from babelclip.prepare.config import ImagePrepareConfig
from babelclip.prepare.image import ImagePreparer
from babelclip.tar_samples import TarSample, read_samples
from babelclip.towers.config import ConvTrunkConfig
from babelclip.towers.patches import ConvTrunk
from photos import PSEUDO_LANGUAGES, Names
from pretrained import PIXEL_MEAN, PIXEL_STD, ImageTrunk
from prompts import PROMPTS

IMAGENET = "in1k:"
CLASSES = 1000
MIN_NAMES = 300  # of a language that is asked to tell classes apart
BATCH = 16


def image_prepare(size: int) -> ImagePrepareConfig:
    """How images become pixels, for the classifier as for the finished model."""
    return ImagePrepareConfig(
        size=size,
        resize_mode="squash",
        mean=(PIXEL_MEAN, PIXEL_MEAN, PIXEL_MEAN),
        std=(PIXEL_STD, PIXEL_STD, PIXEL_STD),
        alpha="white",
        orientation="upright",
    )


def class_names(names: Names) -> dict[str, dict[str, list[str]]]:
    """Class id -> language -> the name alone and in a prompt; classes in the order of the logits, English first.

    Raises:
        DatasetError: the labels do not name every class in English.
    """
    classes = {f"{IMAGENET}{number:03}": names.get(f"{IMAGENET}{number:03}", {}) for number in range(CLASSES)}
    unnamed = [class_id for class_id, by_language in classes.items() if "en" not in by_language]
    if unnamed:
        raise DatasetError(
            f"labels.json.gz lacks the English name of {len(unnamed)} ImageNet classes, such as {unnamed[0]}"
        )
    languages = {language for by_language in classes.values() for language in by_language} - PSEUDO_LANGUAGES
    counts = {language: sum(language in by_language for by_language in classes.values()) for language in languages}
    others = sorted(k for k, n in counts.items() if k != "en" and n >= MIN_NAMES and k in PROMPTS)
    return {
        class_id: {
            language: [by_language[language], PROMPTS[language].format(by_language[language])]
            for language in ("en", *others)
            if language in by_language
        }
        for class_id, by_language in classes.items()
    }


class Classifier:
    """The trunk with its own classifier: encoded images -> what it judges by, and what it says."""

    def __init__(self, trunk: ImageTrunk, size: int, device: torch.device | str = "cpu") -> None:
        self._preparer = ImagePreparer(image_prepare(size))
        self._device = device
        self._trunk = ConvTrunk(ConvTrunkConfig.efficientnet_lite2())
        self._trunk.load_state_dict(dict(trunk.tensors), strict=True)
        self._trunk.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        weight = trunk.classifier_weight
        self._classifier = nn.Linear(weight.shape[1], weight.shape[0], device=device)
        self._classifier.load_state_dict({"weight": weight, "bias": trunk.classifier_bias})

    @torch.inference_mode()
    def __call__(self, samples: Sequence[TarSample]) -> NDArray[np.float16]:
        """Of the plain view the features, averaged over the picture, and behind them the logits: (N, 1280 + classes).

        Raises:
            DatasetError: an image cannot be read; it is named.
        """
        starts = range(0, len(samples), BATCH)
        return np.concatenate([self._judge(samples[start : start + BATCH]) for start in starts])

    def _judge(self, samples: Sequence[TarSample]) -> NDArray[np.float16]:
        pixels = torch.from_numpy(np.stack([self._pixels(sample) for sample in samples])).to(self._device)
        features = self._trunk(pixels.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))
        judged: NDArray[np.float32] = torch.cat((features, self._classifier(features)), dim=1).cpu().numpy()
        return judged.astype(np.float16)

    def _pixels(self, sample: TarSample) -> NDArray[np.float32]:
        try:
            return self._preparer(sample.image.read())
        except ImageError as error:
            raise DatasetError(f"{sample.image.path}: {sample.key}: {error}") from error


def read_shards(photos: Path) -> list[TarSample]:
    """The photos as ``photos.write_shards`` has written them, by the name of source and key."""
    return [sample for shard in sorted(photos.glob("*/*.tar")) for sample in read_samples(shard, (".json",))]
