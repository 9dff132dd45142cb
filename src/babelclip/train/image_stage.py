"""The image stage: projection and transformer blocks on the frozen trunk learn the (frozen) text space.

LiT (Zhai et al. 2022) turned round: the text side is locked and its vectors are computed once, so a step costs the
image blocks alone and negatives from a large bank are free. The trunk's own classifier says for every photo how much
it looks like each of 1,000 named things; the tower learns to agree, which is what recognition by name needs, also on
photos that are moved to classes of which there is hardly any photo (``babelclip.train.class_moves``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from babelclip.errors import ConfigError
from babelclip.towers.patches import ConvPatches, InvertedResidual
from babelclip.towers.text import TextTower
from babelclip.towers.vision import VisionTower
from babelclip.train.batch import Batch, Part
from babelclip.train.class_moves import ClassMoves, carry
from babelclip.train.features import FeatureStore
from babelclip.train.from_stored import encode_tokens, region_places, trunk_tokens
from babelclip.train.losses import bank_info_nce, cosine_distance, matryoshka, same_key
from babelclip.train.names import NameTargets, name_loss
from babelclip.train.photo_draw import PhotoDraw, recall_of_owners, texts_and_owners
from babelclip.train.short_attention import short_attention
from babelclip.train.spread import Ranks
from babelclip.train.text_bank import TextBank


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """What the recipe says about the image stage."""

    batch_size: int = 384
    bank_size: int = 4096  # negatives besides the batch's own texts
    english_share: float = 0.4
    mean_weight: float = 1.0  # cosine to the mean of the photo's texts
    names_weight: float = 0.5  # agreement with the trunk's classifier
    names_scale: float = 60.0  # fixed: how sharp recognition by name is
    names_order: float = 4.0  # weight of the order of all names beside the probabilities of the likeliest
    names_languages: int = 2  # of a step, English among them
    moved: bool = False  # names are learned of photos moved to other classes too (``babelclip.train.class_moves``)
    moved_strength: tuple[float, float] = (0.1, 0.35)  # length of their steps (``ClassMoves.move``), between these
    keep_patches: float = 0.7  # patch dropout (Li et al. 2023): share of the positions seen in a step
    whole_share: float = 0.0  # share of the steps that see all positions
    dropout: float = 0.0  # of the trunk's features
    regions: bool = False  # four regions' means in place of whole maps: a quick start for the tower, trunk frozen
    trunk_rate: float = 0.1  # learning rate of the trunk's upper blocks and head, as a share of the recipe's
    scale_rate: float = 5.0  # the same for the temperature
    turn_rate: float = 0.0  # the same for the matrix that the texts are turned by; 0: texts stay where they are
    turn_keep: float = 1.0  # how much turned texts are held near their old places (1 - cosine)
    first_scale: float = 20.0  # of the contrastive loss; learned
    source_weights: Mapping[str, float] = field(default_factory=dict)  # how often, where not 1
    half_precision: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What a batch of images is compared with."""

    rows: NDArray[np.int64]  # (B,) of the store
    texts: NDArray[np.int64]  # (B + bank size,) of the bank: each image's own, then others
    languages: NDArray[np.int64]  # of the names, positions in ``NameTargets.names``
    moved: Tensor | None  # what the classifier says of them when they are moved: (B, classes)


class ImageStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    def __init__(
        self,
        tower: VisionTower,
        store: FeatureStore,
        bank: TextBank,
        bank_vectors: Tensor,
        targets: NameTargets,
        held_out: frozenset[str],
        dims: Sequence[int],
        settings: ImageSettings,
        name: str = "image",
        moves: ClassMoves | None = None,
    ) -> None:
        """moves: needed where the settings ask for moved photos."""
        if settings.moved and moves is None:
            raise ConfigError(f"the {name} stage moves photos to other classes, but has nothing to move them by")
        self.name = name
        self.module = tower
        self.head = ImageHead(tower.config.width, settings.first_scale)
        self.head.turn.requires_grad_(settings.turn_rate > 0)
        assert isinstance(tower.patches, ConvPatches), "the image stage trains towers with a convolutional trunk"
        train_trunk_above(tower.patches, None if settings.regions or not settings.trunk_rate else store.block)
        self.rates: Mapping[str, float] = {
            "patches.trunk": settings.trunk_rate,
            "patches.classifier": settings.trunk_rate,
            "log_scale": settings.scale_rate,
            "turn": settings.turn_rate,
        }
        self._settings = settings
        self._store = store
        self._bank = bank
        self._vectors = F.normalize(bank_vectors.float(), dim=1)
        self._means = bank.mean_vectors(self._vectors)
        self._targets = targets
        self._moves = moves
        self._dims = tuple(dims)
        self._name_dims = self._dims[-1], self._dims[len(self._dims) // 2]
        self._draw = PhotoDraw(store, bank, held_out, settings.source_weights)

    def draw(self, step: int, ranks: Ranks) -> Batch:
        """Views of photos, a text for each, other texts, and a language to name things in."""
        settings = self._settings
        generator = np.random.default_rng([settings.seed, step])
        rows = self._draw.rows(settings.batch_size, generator)
        photos = self._store.photos[rows]
        own = self._bank.draw(photos, generator, settings.english_share)
        others = generator.integers(len(self._vectors), size=settings.bank_size)
        share = ranks.share(len(rows))
        stored = [self._stored(rows[share]), self._channel_mask(generator, len(rows))[share]]
        logits: Tensor | None = None
        if settings.moved:
            before, after, logits = self._move(rows, generator)
            stored += [before[share], after[share]]
        part = Part("image", tuple(stored), len(rows), self._draw_positions(generator))
        labels = ImageLabels(rows, np.concatenate([own, others]), self._draw_languages(generator), logits)
        return Batch((part,), labels)

    def _draw_languages(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """English, which is first, and others."""
        others = generator.permutation(len(self._targets.names) - 1)[: self._settings.names_languages - 1]
        return np.concatenate([[0], 1 + others])

    def _draw_positions(self, generator: np.random.Generator) -> Tensor | None:
        """Those that the tower sees in a step; None: all."""
        if self._settings.regions or generator.random() < self._settings.whole_share:
            return None
        positions = self.module.config.grid**2
        seen = max(1, round(positions * self._settings.keep_patches))
        return torch.from_numpy(np.sort(generator.permutation(positions)[:seen]))

    def _move(self, rows: NDArray[np.int64], generator: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Where photos go when each is moved to some class: pooled features before and after, both (B, head width),
        and the classifier's logits after, (B, classes)."""
        moves = self._moves
        assert moves is not None, "the stage's constructor has seen to it"
        wanted = torch.from_numpy(generator.integers(len(moves.bias), size=len(rows)))
        strength = torch.from_numpy(generator.uniform(*self._settings.moved_strength, len(rows)).astype(np.float32))
        before = torch.from_numpy(self._store.regions[rows]).float().mean(dim=1)
        after = moves.move(before, wanted, strength)
        return before, after, moves.logits(after)

    def _stored(self, rows: NDArray[np.int64]) -> Tensor:
        """What the tower is fed with: regions (B, 4, head width) or maps (B, C, G, G)."""
        return torch.from_numpy((self._store.regions if self._settings.regions else self._store.maps)[rows])

    def loss(self, vectors: Sequence[Tensor], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Contrast, closeness to the mean of the texts, and agreement with the classifier, on moved photos too."""
        settings, labels = self._settings, batch.labels
        assert isinstance(labels, ImageLabels)
        images, *moved = vectors[0].chunk(1 if labels.moved is None else 2, dim=1)
        contrast, turned = self._contrast(images, labels.texts)
        means = self.head.turned(self._means[self._store.photos[labels.rows]]).detach()
        close = matryoshka(cosine_distance, images, means, self._dims)
        named = self._named(images, self._targets.logits[self._store.photos[labels.rows]], labels)
        loss = contrast + settings.mean_weight * close + settings.names_weight * named + settings.turn_keep * turned
        figures = {"contrast": contrast.item(), "distance": close.item(), "names": named.item()}
        figures |= {"turned": turned.item(), "scale": self.head.log_scale.exp().item()}
        if labels.moved is not None:
            elsewhere = self._named(moved[0], labels.moved, labels)
            figures["names_moved"] = elsewhere.item()
            loss = loss + settings.names_weight * elsewhere
        return loss, figures

    def warm_start_sample(self, number: int) -> tuple[Tensor, Tensor]:
        """Regions of photos drawn as in training, and the means of their texts, for ``start_from_pooled``."""
        generator = np.random.default_rng([self._settings.seed, 11])
        rows = self._draw.rows(number, generator)
        return torch.from_numpy(self._store.regions[rows]), self._means[self._store.photos[rows]]

    def _channel_mask(self, generator: np.random.Generator, number: int) -> Tensor:
        """Inverted dropout of whole channels of the head, another choice for each image: (B, 1, head width)."""
        share, patches = self._settings.dropout, self.module.patches
        assert isinstance(patches, ConvPatches), "the stage's constructor has seen to it"
        shape = number, 1, patches.projection.in_features
        return torch.from_numpy((generator.random(shape, dtype=np.float32) >= share) / np.float32(1 - share))

    def encode(self, part: Part) -> Tensor:
        """Rows -> (B, E); where they are moved as well, both vectors of a photo side by side, (B, 2 E).

        Rows are what is stored; in training also the channels' mask; where photos are moved, their pooled features
        before and after.
        """
        tower, (stored, *rest) = self.module, part.rows
        half = torch.autocast("cpu", torch.bfloat16, enabled=self._settings.half_precision)
        with half, short_attention():
            stored = stored.to(tower.cls_token.dtype)
            if self._settings.regions:
                tokens = stored
                places: Tensor | None = region_places(tower.config.grid)
            else:
                maps, places = stored.contiguous(memory_format=torch.channels_last), part.keep
                tokens = trunk_tokens(tower, maps, self._store.block, places)
            if len(rest) > 1:
                tokens = torch.cat((tokens, carry(tokens, *rest[1:])))
            if rest:
                tokens = tokens * rest[0].repeat(len(tokens) // len(stored), 1, 1)
            vectors = encode_tokens(tower, tokens, places)
        vectors = vectors.float() if self._settings.half_precision else vectors
        return torch.cat(vectors.split(len(stored)), dim=1)

    def _contrast(self, vectors: Tensor, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """InfoNCE both ways, and how far the texts were turned away from where they were.

        places: of texts in the bank, first the images' own, in order.
        """
        number = len(vectors)
        meanings, wordings = (torch.from_numpy(keys[places]) for keys in (self._bank.meanings, self._bank.wordings))
        ignored = same_key(meanings[:number], meanings) | same_key(wordings[:number], wordings)
        fixed = self._vectors[torch.from_numpy(places)]
        bank, scale = self.head.turned(fixed), self.head.log_scale.exp()
        contrast = matryoshka(partial(bank_info_nce, ignored=ignored, scale=scale), vectors, bank, self._dims)
        return contrast, matryoshka(cosine_distance, bank, fixed, self._dims)

    def _named(self, vectors: Tensor, logits: Tensor, labels: ImageLabels) -> Tensor:
        """How far recognition by name, in the languages that were drawn, is from what the classifier says."""
        settings, names = self._settings, self._targets.names
        losses = [
            name_loss(
                vectors,
                logits,
                members,
                self.head.turned(vectors_of_names),
                self._name_dims,
                scale=settings.names_scale,
                order_weight=settings.names_order,
            )
            for members, vectors_of_names in (names[language] for language in labels.languages)
        ]
        return torch.stack(losses).mean()

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Recall of held-out photos by their own captions, English and others, at 5."""
        rows = self._draw.held_rows
        if not len(rows):
            return {}
        parts = np.array_split(rows, -(-len(rows) // 128))
        images = torch.cat([self.encode(Part("image", (self._stored(part),), len(part))) for part in parts])
        return {
            f"recall_{name}": recall_of_owners(self.head.turned(self._vectors[places]), images, owners)
            for name, (places, owners) in texts_and_owners(self._bank, self._store.photos[rows]).items()
        }


class ImageHead(nn.Module):
    """The temperature, and what turns the texts: LiT (Zhai et al. 2022) locks them whole, here a matrix near the
    identity may move them all together."""

    def __init__(self, width: int, first_scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(first_scale))))
        self.turn = nn.Parameter(torch.zeros(width, width))  # minus the identity, so that weight decay leads back

    def turned(self, texts: Tensor) -> Tensor:
        """Where text vectors go: (N, E) -> (N, E)."""
        return texts + texts @ self.turn


def train_trunk_above(patches: ConvPatches, block: int | None) -> None:
    """Freeze a trunk up to some block, or whole with its classifier (None). Depthwise filters stay frozen everywhere:
    their gradient costs more than everything else together."""
    trunk = patches.trunk
    trunk.requires_grad_(False)
    if patches.has_classes:
        patches.classifier.requires_grad_(block is not None)
    if block is None:
        return
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs leave this form out
    trunk.head.requires_grad_(True)
    for upper in trunk.blocks[block:]:
        assert isinstance(upper, InvertedResidual)
        upper.requires_grad_(True)
        upper.depthwise.requires_grad_(False)


@torch.no_grad()
def turn_projection(tower: TextTower, turn: Tensor) -> None:
    """Give a text tower itself what an image stage turned its vectors by: projected vectors v become v + v @ turn."""
    assert tower.projection is not None, "a text tower without a projection cannot be turned"
    weight = tower.projection.weight  # (E, D); v = weight @ p
    weight.add_(turn.T @ weight)
