"""Rows of the tasks' sources, prepared as for inference: the way from files to a `Batch`.

A rank reads and prepares only its share of the rows. A broken image costs its row, never the run: another row of its
source takes its place, and the image is named once in ``failures``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from babelclip.errors import ConfigError, DatasetError, ImageError
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.open_image import open_image
from babelclip.prepare.text import TextPreparer
from babelclip.towers.config import DualConfig
from babelclip.train.augment import augment
from babelclip.train.batch import Batch, Part
from babelclip.train.data.captioned import Captions
from babelclip.train.data.mix import Mixture
from babelclip.train.data.text_rows import TextRow
from babelclip.train.spread import Ranks, gather_labels
from babelclip.train.tasks import Task, TaskLabels

TRIES = 20  # rows looked at for one that can be read


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastSettings:
    """What holds for all tasks of a stage."""

    max_tokens: int = 77
    keep_patches: float = 1.0
    seed: int = 0
    threads: int = 2  # that read and prepare images


class Collator:
    """Draws batches.

    Raises:
        ConfigError: a task needs images and the model has no image tower.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        config: DualConfig,
        texts: TextPreparer,
        images: ImagePreparer | None,
        settings: ContrastSettings,
    ) -> None:
        wanting = [task.name for task in tasks if task.settings.kind == "image_text"]
        if wanting and (images is None or config.vision is None):
            raise ConfigError(f"tasks {', '.join(wanting)} need an image tower, which this model has not")
        self.failures: dict[str, str] = {}  # image -> why it could not be read
        self._tasks, self._settings = tuple(tasks), settings
        self._texts, self._images = texts, images
        self._has_adapters = config.text.adapters is not None
        self._grid = 0 if config.vision is None else config.vision.grid
        self._mixtures = [
            Mixture([len(source) for source in task.sources], task.weights, settings.seed + place)
            for place, task in enumerate(tasks)
        ]
        self._pool = ThreadPoolExecutor(settings.threads)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Rows of every task, this rank's share of them read and prepared; labels of all ranks."""
        parts: list[Part] = []
        labels: list[TaskLabels] = []
        for place, task in enumerate(self._tasks):
            own_parts, own = self.share(place, step, ranks)
            parts += own_parts
            keys = gather_labels(own.keys, task.settings.batch, ranks)
            scores = None if own.scores is None else gather_labels(own.scores, task.settings.batch, ranks)
            labels.append(TaskLabels(keys, scores))
        return Batch(tuple(parts), tuple(labels))

    def share(self, place: int, step: int, ranks: Ranks) -> tuple[list[Part], TaskLabels]:
        """What a rank reads for the task at a place, and its labels."""
        task, mixture = self._tasks[place], self._mixtures[place]
        number = task.settings.batch
        own = ranks.share(number)
        stream = range(step * number + own.start, step * number + own.stop)
        if task.settings.kind == "image_text":
            crops, texts = self._draw_images(task, mixture, stream, [self._settings.seed, 5, place])
            image = Part("image", (torch.from_numpy(crops),), number, self._keep(step, place))
            return [image, self._text_part(texts, number)], TaskLabels(_keys(texts))
        rows = [_text_row(task, *mixture.at(at)) for at in stream]
        positives = [row.positive for row in rows]
        parts = [self._text_part([row.anchor for row in rows], number), self._text_part(positives, number)]
        if task.settings.negatives:
            wrong = [text for row in rows for text in row.negatives]
            parts.append(self._text_part(wrong, number * task.settings.negatives))
        return parts, TaskLabels(_keys(positives), _scores(task, rows))

    def pixels(self, crops: Tensor) -> Tensor:
        """Crops (B, S, S, 3) as the tower sees them: float32 (B, 3, S, S).

        Batches hold crops, a quarter of the size: of a cached batch only one piece is pixels at a time.
        """
        assert self._images is not None, "the constructor has seen to it"
        return torch.from_numpy(np.stack([self._images.normalize(crop) for crop in crops.numpy()]))

    def _draw_images(
        self, task: Task, mixture: Mixture, places: Sequence[int], seed: Sequence[int]
    ) -> tuple[NDArray[np.uint8], list[str]]:
        """Crops (B, S, S, 3) and a caption for each place; the same whichever rank prepares it."""
        assert self._images is not None, "the constructor has seen to it"
        side = self._images.config.size
        crops, texts = np.empty((len(places), side, side, 3), dtype=np.uint8), []
        found = self._pool.map(lambda place: self._draw_image(task, mixture, place, [*seed, place]), places)
        for number, (crop, text) in enumerate(found):  # one by one: a batch of thousands is in memory once
            crops[number] = crop
            texts.append(text)
        return crops, texts

    def _draw_image(
        self, task: Task, mixture: Mixture, place: int, seed: Sequence[int]
    ) -> tuple[NDArray[np.uint8], str]:
        """Where the image is broken, another row of the same source."""
        assert self._images is not None, "the constructor has seen to it"
        generator = np.random.default_rng(seed)
        source_number, row = mixture.at(place)
        source = task.sources[source_number]
        assert not isinstance(source, tuple)
        for _ in range(TRIES):
            try:
                config = self._images.config
                opened = open_image(
                    source.image(row), self._images.limits, orientation=config.orientation, alpha=config.alpha
                )
                if task.settings.augment:
                    opened = augment(opened, _view(task, source.name(row), generator), degrade=0.1)
                return self._images.crop(opened), draw_caption(
                    source.captions(row), generator, task.settings.english_share
                )
            except (ImageError, OSError) as error:
                self.failures.setdefault(source.name(row), str(error))
                row = int(generator.integers(len(source)))
        raise DatasetError(
            f"{TRIES} images of one source in turn cannot be read; the last is {source.name(row)}: "
            f"{list(self.failures.values())[-1]}"
        )

    def _keep(self, step: int, place: int) -> Tensor | None:
        """Patch dropout (Li et al. 2023): the positions that this step sees, the same on every rank."""
        if self._settings.keep_patches >= 1:
            return None
        positions = self._grid**2
        order = np.random.default_rng([self._settings.seed, step, place, 6]).permutation(positions)
        return torch.from_numpy(np.sort(order[: max(1, round(positions * self._settings.keep_patches))]))

    def _text_part(self, texts: Sequence[str], number: int) -> Part:
        batch = self._texts.batch(self._texts.tokenize(texts, max_tokens=self._settings.max_tokens).token_ids)
        rows = (torch.from_numpy(batch.token_ids), torch.from_numpy(batch.adapters))
        return Part("text", rows if self._has_adapters else rows[:1], number)


def _view(task: Task, image: str, generator: np.random.Generator) -> np.random.Generator:
    """What decides on an image's augmentation: chance, or which of its few views comes up."""
    if not task.settings.views:
        return generator
    return np.random.default_rng([zlib.crc32(image.encode()), int(generator.integers(task.settings.views))])


def draw_caption(captions: Captions, generator: np.random.Generator, english_share: float) -> str:
    """One caption: English with a given share, else of a language drawn evenly (UForm's balance)."""
    languages = [language for language, texts in captions.items() if texts]
    english = "en" in languages and generator.random() < english_share
    texts = captions["en" if english else languages[int(generator.integers(len(languages)))]]
    return texts[int(generator.integers(len(texts)))]


def key_of(text: str) -> int:
    """A number that is equal for equal texts, up to case and blanks at the ends."""
    return zlib.crc32(text.strip().lower().encode())


def _keys(texts: Sequence[str]) -> Tensor:
    return torch.tensor([key_of(text) for text in texts], dtype=torch.int64)


def _text_row(task: Task, source: int, row: int) -> TextRow:
    rows = task.sources[source]
    assert isinstance(rows, tuple), f"{task.name} reads rows of texts"
    return rows[row]


def _scores(task: Task, rows: Sequence[TextRow]) -> Tensor | None:
    if task.settings.loss == "cosent":
        return torch.tensor([row.score for row in rows], dtype=torch.float32)
    if task.settings.loss == "scores":
        return torch.tensor([row.scores for row in rows], dtype=torch.float32)
    return None
