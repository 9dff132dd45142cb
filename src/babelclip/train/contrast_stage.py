"""Contrastive training of both towers: images with captions, pairs of texts, triplets, scored pairs, in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.towers.dual import DualEncoder
from babelclip.towers.patches import ConvPatches
from babelclip.train.batch import Batch, Part
from babelclip.train.data.collate import Collator
from babelclip.train.kept_features import KeptFeatures
from babelclip.train.losses import (
    by_width,
    cosent,
    hard_negative_info_nce,
    score_divergence,
    sigmoid_pairs,
    symmetric_info_nce,
    weighted_mean,
)
from babelclip.train.spread import Ranks
from babelclip.train.tasks import Task, TaskLabels, check_unified


class ContrastHead(nn.Module):
    """A temperature for each task, and a bias for those that judge pairs alone."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.log_scales = nn.ParameterDict()
        self.biases = nn.ParameterDict()
        self._most: dict[str, float] = {}
        for task in tasks:
            chosen = task.settings.temperature
            scale = nn.Parameter(torch.tensor(float(np.log(chosen.start))), requires_grad=chosen.learned)
            self.log_scales[task.name] = scale
            self._most[task.name] = float(np.log(chosen.most))
            if task.settings.loss == "sigmoid":
                self.biases[task.name] = nn.Parameter(torch.tensor(-10.0))

    def scale(self, name: str) -> Tensor:
        """The scale, clamped: beyond the most, its gradient is gone."""
        return self.log_scales[name].clamp(max=self._most[name]).exp()


class ContrastStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    def __init__(
        self,
        name: str,
        model: DualEncoder,
        tasks: Sequence[Task],
        collator: Collator,
        *,
        half_precision: bool = False,
        rates: Mapping[str, float] | None = None,
        keep_features: int = 0,
    ) -> None:
        """keep_features: of how many crops the frozen trunk's output is kept (``babelclip.train.kept_features``)."""
        check_unified(tasks)
        self.name = name
        self.module = model
        self.head = ContrastHead(tasks)
        self.rates: Mapping[str, float] = rates or {}
        self.collator = collator
        self._tasks, self._half_precision = tuple(tasks), half_precision
        self._features: KeptFeatures | None = None
        if keep_features:
            if model.vision is None:
                raise ConfigError(f"keep_features = {keep_features}, but this model has no image tower")
            self._features = KeptFeatures(model.vision, collator.pixels, keep_features)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Rows of every task, this rank's share of them read and prepared."""
        return self.collator.draw(step, ranks)

    def encode(self, part: Part) -> Tensor:
        """Token ids or crops -> (B, E), with the gradient."""
        with torch.autocast(part.rows[0].device.type, torch.bfloat16, enabled=self._half_precision):
            if part.kind == "text":
                vectors: Tensor = self.module.text(*part.rows)
            else:
                assert self.module.vision is not None
                patches = self._patches(part.rows[0])
                vectors = self.module.vision.encode_tokens(
                    patches if part.keep is None else patches[:, part.keep], part.keep
                )
        return vectors.float() if self._half_precision else vectors

    def _patches(self, crops: Tensor) -> Tensor:
        """Crops (B, S, S, 3) -> (B, P, D)."""
        vision = self.module.vision
        assert vision is not None
        if self._features is None:
            tokens: Tensor = vision.patches(self.collator.pixels(crops))
            return tokens
        assert isinstance(vision.patches, ConvPatches), "kept features have seen to it"
        return vision.patches.from_features(self._features(crops))

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the tasks' losses; figures by task, by width and by temperature."""
        figures: dict[str, float] = {}
        total = torch.zeros((), dtype=vectors[0].dtype, device=vectors[0].device)
        for task, taken, labels in self._matrices(vectors, batch.labels):
            dims = task.settings.dims or (taken[0].shape[-1],)
            terms = self._task_loss(task, taken, labels, dims)
            found = weighted_mean(terms, task.settings.dim_weights or None)
            total = total + task.settings.weight * found
            figures[task.name] = found.item()
            if len(dims) > 1:
                figures |= {f"{task.name} {dim}": term.item() for dim, term in zip(dims, terms, strict=True)}
            figures[f"{task.name} scale"] = self.head.scale(task.name).item()
        return total, figures

    def _matrices(
        self, vectors: Sequence[Tensor], labels: Sequence[TaskLabels]
    ) -> list[tuple[Task, Sequence[Tensor], TaskLabels]]:
        """What is compared with what: each task alone, but unified ones joined under the first one's name."""
        found: list[tuple[Task, Sequence[Tensor], TaskLabels]] = []
        unified: list[tuple[Task, Sequence[Tensor], TaskLabels]] = []
        waiting = list(vectors)
        for task, own in zip(self._tasks, labels, strict=True):
            number = 3 if task.settings.negatives else 2
            (unified if task.settings.unified else found).append((task, waiting[:number], own))
            waiting = waiting[number:]
        if unified:
            sides = [torch.cat(side) for side in zip(*(taken for _, taken, _ in unified), strict=True)]
            found.append((unified[0][0], sides, TaskLabels(torch.cat([own.keys for _, _, own in unified]))))
        return found

    def _task_loss(self, task: Task, vectors: Sequence[Tensor], labels: TaskLabels, dims: Sequence[int]) -> Tensor:
        """At each width: (widths,)."""
        settings, scale = task.settings, self.head.scale(task.name)
        left, right, *others = vectors
        wrong = others[0].unflatten(0, (settings.batch, settings.negatives)) if others else None

        def at_width(a: Tensor, b: Tensor) -> Tensor:
            dim = a.shape[-1]
            if settings.loss == "info_nce":
                return symmetric_info_nce(a, b, labels.keys, scale, directions=settings.directions)
            if settings.loss == "sigmoid":
                return sigmoid_pairs(a, b, labels.keys, scale, self.head.biases[task.name])
            if settings.loss == "cosent":
                assert labels.scores is not None
                return cosent(a, b, labels.scores)
            assert wrong is not None
            if settings.loss == "hard_negatives":
                return hard_negative_info_nce(
                    a, b, wrong[..., :dim], labels.keys, scale, directions=settings.directions
                )
            assert labels.scores is not None
            return score_divergence(a, torch.cat((b[:, None], wrong[..., :dim]), dim=1), labels.scores, scale)

        return by_width(at_width, left, right, dims)

    def evaluate(self) -> dict[str, float]:
        """Nothing of its own: the loop's callers measure with the shipped code path."""
        return {}
