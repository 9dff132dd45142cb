"""The towers of a stage: how texts and images become inputs of what learns, and how these become vectors.

What is frozen below, or whole, is computed once for every item that comes again (``babelclip.train.frozen_outputs``):
a frozen tower gives an objective its vectors, a frozen trunk its features, and only what learns is run at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.prepare.image import ImagePreparer
from babelclip.prepare.length_batches import batches_by_length
from babelclip.prepare.text import TextPreparer
from babelclip.towers.dual import DualEncoder
from babelclip.towers.patches import ConvPatches
from babelclip.towers.vision import VisionTower
from babelclip.train.data.image_sampler import Crop, DrawnImage, ImageReader, ImageView, ViewSettings
from babelclip.train.engine.batch import TowerInput
from babelclip.train.engine.device import attention_for, half
from babelclip.train.frozen_outputs import CacheSettings, FrozenOutputs, fingerprint_of
from babelclip.train.tower_plan import TowerPlan

TOKENS_AT_ONCE = 8192
TokenRows = Sequence[Sequence[int]]
Cut = int | Literal["trunk", "tower"] | None
"""Below what an image tower is frozen: after so many blocks of its trunk, the whole trunk, all of it; None: nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSettings:
    """What holds for all inputs of a stage."""

    max_tokens: int = 77
    keep_patches: float = 1.0  # patch dropout (Li et al. 2023): share of the positions seen in a step
    whole_share: float = 0.0  # share of the steps that see all positions
    half_precision: bool = False  # bfloat16 autocast
    seed: int = 0


class StageTowers:
    """Inputs and encoding of a stage.

    Args:
        model: Its towers are prepared by the plans already.
        text_plan: What of the text tower learns.
        image_plan: The same of the image tower.
        texts: The model's preparation of texts.
        images: Reads images with the model's preparation; None for a model of texts.
        settings: Of the inputs.
        cache: How much of frozen parts' outputs is kept.
        folder: Of the run's caches.
        device: Where the model is.
        rank: Of this process.
    """

    def __init__(
        self,
        model: DualEncoder,
        text_plan: TowerPlan,
        image_plan: TowerPlan,
        texts: TextPreparer,
        images: ImageReader | None,
        settings: InputSettings,
        cache: CacheSettings,
        folder: Path,
        device: torch.device,
        rank: int = 0,
    ) -> None:
        self.model, self.texts, self.images, self.settings = model, texts, images, settings
        self.text_is_frozen = text_plan.train == "frozen"
        self.cut = _cut(model.vision, image_plan)
        self.folder, self.device = folder, device
        self._has_adapters = model.config.text.adapters is not None
        self._seen = None if images is None else torch.from_numpy(images.preparer.pixel_values)
        self._frozen_texts = self._frozen_images = None
        precision = settings.half_precision
        if self.text_is_frozen:
            name = f"text-{fingerprint_of([model.text], precision)}"
            self._frozen_texts = FrozenOutputs(cache, folder, name, rank)
        if self.cut is not None and images is not None:
            facts = precision, self.cut, images.preparer.config
            name = f"image-{fingerprint_of(self.frozen_modules(), *facts)}"
            self._frozen_images = FrozenOutputs(cache, folder, name, rank)

    @property
    def vision(self) -> VisionTower:
        """The image tower.

        Raises:
            ConfigError: The model has none.
        """
        if self.model.vision is None:
            raise ConfigError("an objective needs an image tower, which this model has not")
        return self.model.vision

    @property
    def reader(self) -> ImageReader:
        """What reads images for the image tower; fails as ``vision`` does."""
        if self.images is None:
            raise ConfigError("an objective needs an image tower, which this model has not")
        return self.images

    @property
    def learns(self) -> tuple[str, ...]:
        """The towers that learn something: "text", "image"."""
        towers = ("text", self.model.text), ("image", self.model.vision)
        return tuple(name for name, tower in towers if tower is not None and _learns(tower))

    def frozen_modules(self) -> list[nn.Module]:
        """What of the image tower is frozen and computes outside the step: below the cut."""
        if self.cut is None:
            return []
        if self.cut == "tower":
            return [self.vision]
        trunk = _conv_patches(self.vision).trunk
        return [trunk] if self.cut == "trunk" else [trunk.stem, trunk.blocks[: self.cut]]

    # ------------------------------------------------------------ inputs

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids as the model sees them, cut to the stage's limit."""
        return self.texts.tokenize(texts, max_tokens=self.max_tokens).token_ids

    @property
    def max_tokens(self) -> int:
        return min(self.settings.max_tokens, self.texts.config.max_tokens)

    def text_input(self, rows: TokenRows, number: int) -> TowerInput:
        """This process's share of ``number`` texts."""
        if self.text_is_frozen:
            return TowerInput("vectors", (self.frozen_text_vectors(rows),), number)
        return TowerInput("text", self._token_ids(rows), number)

    def token_states_input(self, rows: TokenRows, number: int, longest: int) -> TowerInput:
        """The same, for the states of all tokens; ``longest`` of all processes' texts, in tokens."""
        token_ids, *adapters = self._token_ids(rows)
        padded = F.pad(token_ids, (0, longest - token_ids.shape[1]), value=self.texts.config.pad_id)
        return TowerInput("text tokens", (padded, *adapters), number)

    def image_input(self, drawn: Sequence[DrawnImage], number: int, positions: Tensor | None) -> TowerInput:
        """This process's share of ``number`` images."""
        if self._frozen_images is None:
            return TowerInput("image", (torch.from_numpy(np.stack(_crops(drawn))),), number, positions)
        outputs = self.frozen_image_outputs(drawn)
        if self.cut == "tower":
            return TowerInput("vectors", (outputs,), number)
        return TowerInput("image features", (outputs,), number, positions)

    def positions(self, step: int, number: int) -> Tensor | None:
        """Those that the image tower sees in a step, the same in every process: (P,) int64; None: all.

        Args:
            step: Of the stage.
            number: Of the draw among the stage's.
        """
        settings = self.settings
        if settings.keep_patches >= 1 or self.cut == "tower":
            return None
        generator = np.random.default_rng([settings.seed, step, number, 6])
        order = generator.permutation(self.vision.config.grid**2)
        if settings.whole_share and generator.random() < settings.whole_share:
            return None
        return torch.from_numpy(np.sort(order[: max(1, round(len(order) * settings.keep_patches))]))

    def is_known(self, views: ViewSettings, view: ImageView) -> bool:
        """Whether an image need not be read, because what is needed of it is kept."""
        return self._frozen_images is not None and views.come_again and self.reader.key(view) in self._frozen_images

    def frozen_text_vectors(self, rows: TokenRows) -> Tensor:
        """Vectors of texts from a text tower that is frozen: float32 (N, E).

        Raises:
            ConfigError: The text tower learns in this stage.
        """
        if self._frozen_texts is None:
            raise ConfigError("an objective needs a frozen text tower: give the stage text = { train = 'frozen' }")
        keys = [" ".join(map(str, row)) for row in rows]

        def compute(some: Sequence[int]) -> Tensor:
            return self.uncached_text_vectors([rows[index] for index in some])

        return self._frozen_texts.of(keys, compute, torch.float32, at_once=max(1, len(rows)))

    def uncached_text_vectors(self, rows: TokenRows) -> Tensor:
        """Vectors of texts from the text tower as it is at this moment: float32 (N, E)."""
        tower = self.model.text
        out = torch.empty(len(rows), tower.config.width if tower.projection is None else tower.config.embed_dim)
        with torch.no_grad():
            for some in batches_by_length([len(row) for row in rows], TOKENS_AT_ONCE):
                out[some] = self._text_vectors([rows[row] for row in some]).float().cpu()
        return out

    def _text_vectors(self, rows: TokenRows) -> Tensor:
        return self.encode(TowerInput("text", self._token_ids(rows), len(rows)).to(self.device))

    def frozen_image_outputs(self, drawn: Sequence[DrawnImage]) -> Tensor:
        """What the frozen part of the image tower gives for views: vectors (N, E) float32, or features float16."""
        assert self._frozen_images is not None, "the caller has seen to it"
        keys = [self.reader.key(one.view) for one in drawn]

        def compute(some: Sequence[int]) -> Tensor:
            crops = _crops([drawn[index] for index in some])
            return self._below_the_cut(torch.from_numpy(np.stack(crops)).to(self.device))

        dtype = torch.float32 if self.cut == "tower" else torch.float16
        return self._frozen_images.of(keys, compute, dtype)

    def flush(self) -> None:
        """Write what frozen parts gave and waits to be written."""
        for outputs in (self._frozen_texts, self._frozen_images):
            if outputs is not None:
                outputs.flush()

    # ------------------------------------------------------------ encoding

    def encode(self, rows: TowerInput) -> Tensor:
        """Rows on the device -> float32 (B, E), or (B, T, L, D) for the states of tokens, with the gradient."""
        if rows.kind == "vectors":
            return rows.rows[0].to(self.model.text.embeddings.norm.weight.dtype)
        settings = self.settings
        tokens = rows.rows[0].shape[1] if rows.kind.startswith("text") else self.vision.config.grid**2 + 1
        with half(self.device, enabled=settings.half_precision), attention_for(self.device, tokens):
            if rows.kind == "text":
                vectors: Tensor = self.model.text(*rows.rows)
            elif rows.kind == "text tokens":
                vectors = torch.stack(list(self.model.text.block_outputs(*rows.rows)), dim=2)
            else:
                vectors = self._encode_image(rows)
        return vectors.float() if settings.half_precision else vectors

    def _encode_image(self, rows: TowerInput) -> Tensor:
        tower, patches, (found,) = self.vision, self.vision.patches, rows.rows
        positions = rows.positions
        if rows.kind == "image features":
            patches = _conv_patches(tower)
            found = found.to(tower.cls_token.dtype)
            if isinstance(self.cut, int):
                maps = found.contiguous(memory_format=torch.channels_last)
                features = patches.trunk.tokens_from(maps, self.cut, positions)
            else:
                features = found.flatten(2).transpose(1, 2)
                features = features if positions is None else features[:, positions]
            tokens = patches.from_tokens(features)
        elif positions is not None and isinstance(patches, ConvPatches):
            # Its classifier sees no other positions either.
            features = patches.trunk(self.pixels(found)).flatten(2).transpose(1, 2)
            tokens = patches.from_tokens(features[:, positions])
        else:
            tokens = patches(self.pixels(found))
            tokens = tokens if positions is None else tokens[:, positions]
        return tower.encode_tokens(tokens, positions, cls_only=True)

    def _below_the_cut(self, crops: Tensor) -> Tensor:
        tower, pixels = self.vision, self.pixels(crops)
        tokens = tower.config.grid**2 + 1
        with half(self.device, enabled=self.settings.half_precision), attention_for(self.device, tokens):
            if self.cut == "tower":
                return tower(pixels).float()
            trunk = _conv_patches(tower).trunk
            return trunk(pixels) if self.cut == "trunk" else trunk.feature_map(pixels, self.cut)

    def pixels(self, crops: Tensor) -> Tensor:
        """Crops (B, S, S, 3) as the tower sees them: (B, 3, S, S).

        Batches hold crops, a quarter of the size: of a cached batch only one piece is pixels at a time.
        """
        assert self._seen is not None, "the model has an image tower"
        seen = self._seen.to(crops.device, self.vision.cls_token.dtype)
        return torch.stack([seen[channel][crops[..., channel].long()] for channel in range(3)], dim=1)

    def _token_ids(self, rows: TokenRows) -> tuple[Tensor, ...]:
        batch = self.texts.batch(rows)
        arrays: tuple[NDArray[np.int64], ...] = (batch.token_ids, batch.adapters)
        return tuple(torch.from_numpy(array) for array in arrays[: 2 if self._has_adapters else 1])


def _cut(tower: VisionTower | None, plan: TowerPlan) -> Cut:
    if tower is None:
        return None
    if plan.train == "frozen":
        return "tower"
    if not isinstance(tower.patches, ConvPatches):
        return None
    if plan.train == "lora" or plan.frozen_blocks == len(tower.patches.trunk.blocks):
        return "trunk"
    return plan.frozen_blocks or None


def _learns(tower: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in tower.parameters())


def _conv_patches(tower: VisionTower) -> ConvPatches:
    assert isinstance(tower.patches, ConvPatches), "only a convolutional trunk is cut"
    return tower.patches


def _crops(drawn: Sequence[DrawnImage]) -> list[Crop]:
    crops = [one.crop for one in drawn]
    assert all(crop is not None for crop in crops), "only what is known is not read"
    return [crop for crop in crops if crop is not None]


def image_reader(images: ImagePreparer | None) -> ImageReader | None:
    """A reader with the model's preparation; None for a model of texts."""
    return None if images is None else ImageReader(images)
