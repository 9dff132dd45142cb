"""The image stage: projection and transformer blocks on the frozen trunk learn the (frozen) text space.

LiT (Zhai et al. 2022) turned round: the text side is locked and its vectors are computed once, so a step costs the
image blocks alone and negatives from a large bank are free. The trunk's own classifier says for every photo how much
it looks like each of 1,000 named things; the tower learns to agree, which is what recognition by name needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from babelclip.towers.patches import ConvPatches
from babelclip.towers.vision import VisionBlock, VisionTower
from babelclip.train.features import FeatureStore
from babelclip.train.losses import cosine_distance, info_nce, matryoshka, same_key
from babelclip.train.text_bank import TextBank


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """What the recipe says about the image stage."""

    batch_size: int = 384
    bank_size: int = 4096  # negatives besides the batch's own texts
    english_share: float = 0.4
    mean_weight: float = 1.0  # cosine to the mean of the photo's texts
    names_weight: float = 0.5  # agreement with the trunk's classifier
    names_scale: float = 30.0  # fixed: how sharp recognition by name is
    keep_patches: float = 0.7  # patch dropout (Li et al. 2023): share of the positions seen in a step
    whole_share: float = 0.0  # share of the steps that see all positions
    dropout: float = 0.0  # of the trunk's features
    first_scale: float = 20.0  # of the contrastive loss; learned
    source_weights: Mapping[str, float] = field(default_factory=dict)  # how often, where not 1
    half_precision: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class NameTargets:
    """What the trunk's classifier says about each stored view, and the names' vectors in several languages."""

    classes: Tensor  # (N, K) int64: the K likeliest classes
    shares: Tensor  # (N, K) float: their probabilities, summing to 1
    names: tuple[tuple[Tensor, Tensor], ...]  # per language: (classes named there,), (as many, E)


class ImageStage:
    """A ``Stage`` of the loop (``babelclip.train.loop``)."""

    name = "image"

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
    ) -> None:
        self.module = _Trained(tower, settings.first_scale)
        self._settings = settings
        self._store = store
        self._bank = bank
        self._vectors = F.normalize(bank_vectors.float(), dim=1)
        self._means = bank.mean_vectors(self._vectors)
        self._targets = targets
        self._dims = tuple(dims)
        usable = np.array([bool(languages) for languages in bank.photo_texts])
        held = np.array([record.key in held_out for record in store.records])
        weights = np.array([settings.source_weights.get(record.source, 1.0) for record in store.records])
        weights = np.where(usable & ~held, weights, 0.0)[store.photos]
        self._cumulative = np.cumsum(weights)
        self._held_rows = np.flatnonzero((held & usable)[store.photos] & (store.views == 0))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Contrast, closeness to the mean of the texts, and agreement with the classifier, for batch ``step``."""
        settings = self._settings
        generator = np.random.default_rng([settings.seed, step])
        rows = self._draw_rows(generator)
        photos = self._store.photos[rows]
        vectors = self._encode(rows, generator)
        contrast = self._contrast(vectors, photos, generator)
        close = matryoshka(cosine_distance, vectors, self._means[photos], self._dims)
        named = self._name_loss(vectors, rows, generator)
        figures = {"contrast": contrast.item(), "distance": close.item(), "names": named.item()}
        figures["scale"] = self.module.log_scale.exp().item()
        return contrast + settings.mean_weight * close + settings.names_weight * named, figures

    def warm_start_sample(self, number: int) -> tuple[NDArray[np.float16], Tensor]:
        """Stored maps of photos drawn as in training, and the means of their texts, for ``start_from_pooled``."""
        generator = np.random.default_rng([self._settings.seed, 11])
        points = np.sort(generator.random(number)) * self._cumulative[-1]
        rows = np.unique(np.searchsorted(self._cumulative, points, side="right"))
        return self._store.maps[rows], self._means[self._store.photos[rows]]

    def _draw_rows(self, generator: np.random.Generator) -> NDArray[np.int64]:
        points = generator.random(self._settings.batch_size) * self._cumulative[-1]
        return np.unique(np.searchsorted(self._cumulative, points, side="right"))

    def _encode(self, rows: NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        maps = torch.from_numpy(self._store.maps[rows])
        positions = maps.shape[-1] * maps.shape[-2]
        keep = np.sort(generator.permutation(positions)[: max(1, round(positions * self._settings.keep_patches))])
        is_whole = generator.random() < self._settings.whole_share
        channels = self._channel_mask(generator, len(maps))
        return self.encode_maps(maps, None if is_whole else torch.from_numpy(keep), channels)

    def _channel_mask(self, generator: np.random.Generator, number: int) -> Tensor | None:
        """Inverted dropout of whole channels of the head, another choice for each image: (B, 1, head width)."""
        share = self._settings.dropout
        if not share:
            return None
        patches = self.module.tower.patches
        assert isinstance(patches, ConvPatches), "the stage's constructor has seen to it"
        shape = number, 1, patches.projection.in_features
        return torch.from_numpy((generator.random(shape, dtype=np.float32) >= share) / np.float32(1 - share))

    def encode_maps(self, maps: Tensor, keep: Tensor | None, channels: Tensor | None = None) -> Tensor:
        """Stored maps (B, C, G, G) -> float32 (B, E). Attention as in the text stage, for the same reason."""
        half = torch.autocast("cpu", torch.bfloat16, enabled=self._settings.half_precision)
        with half, sdpa_kernel(SDPBackend.MATH):
            return encode_maps(self.module.tower, maps, keep, channels).float()

    def _contrast(self, vectors: Tensor, photos: NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        own = self._bank.draw(photos, generator, self._settings.english_share)
        others = generator.integers(len(self._vectors), size=self._settings.bank_size)
        places = np.concatenate([own, others])
        positive = torch.arange(len(own))
        meanings, wordings = (torch.from_numpy(keys[places]) for keys in (self._bank.meanings, self._bank.wordings))
        ignored = same_key(meanings[: len(own)], meanings) | same_key(wordings[: len(own)], wordings)
        bank, scale = self._vectors[torch.from_numpy(places)], self.module.log_scale.exp()
        terms: list[Tensor] = []
        for dim in self._dims:
            image, text = vectors[:, :dim], bank[:, :dim]
            forth = info_nce(image, text, positive, ignored, scale)
            back = info_nce(text[: len(own)], image, positive, ignored[:, : len(own)], scale)
            terms.append((forth + back) / 2)
        return torch.stack(terms).mean()

    def _name_loss(self, vectors: Tensor, rows: NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        """Cross-entropy between the classifier's probabilities and recognition by name in a language drawn."""
        targets = self._targets
        classes, names = targets.names[0 if generator.random() < 0.5 else int(generator.integers(len(targets.names)))]
        column = torch.full((1 + max(int(targets.classes.max()), int(classes.max())),), -1)
        column[classes] = torch.arange(len(classes))
        places, shares = column[targets.classes[rows]], targets.shares[rows].clone()
        shares[places < 0] = 0.0
        terms: list[Tensor] = []
        for dim in (self._dims[-1], self._dims[len(self._dims) // 2]):
            logits = F.normalize(vectors[:, :dim], dim=1) @ F.normalize(names[:, :dim], dim=1).T
            logs = F.log_softmax(logits * self._settings.names_scale, dim=1)
            terms.append(-(logs.gather(1, places.clamp(min=0)) * shares).sum(dim=1).mean())
        return torch.stack(terms).mean()

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """Recall of held-out photos by their own captions, English and others, at 5."""
        if not len(self._held_rows):
            return {}
        maps = self._store.maps[self._held_rows]
        images = F.normalize(torch.cat([self.encode_maps(torch.from_numpy(m), None) for m in _parts(maps)]), dim=1)
        figures: dict[str, float] = {}
        photos = self._store.photos[self._held_rows]
        for name, only_english in (("recall_en", True), ("recall_others", False)):
            owner: list[int] = []
            places: list[int] = []
            for number, photo in enumerate(photos):
                english = set(self._bank.photo_english[photo])
                texts = english if only_english else {p for ps in self._bank.photo_texts[photo] for p in ps} - english
                owner.extend([number] * len(texts))
                places.extend(texts)
            best = (self._vectors[places] @ images.T).topk(min(5, len(images)), dim=1).indices
            figures[name] = (best == torch.tensor(owner)[:, None]).any(dim=1).float().mean().item()
        return figures


class _Trained(nn.Module):
    """The tower without its trunk's frozen part, and the temperature."""

    def __init__(self, tower: VisionTower, first_scale: float) -> None:
        super().__init__()
        self.tower = tower
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(first_scale))))
        assert isinstance(tower.patches, ConvPatches), "the image stage trains towers with a convolutional trunk"
        tower.patches.trunk.stem.requires_grad_(False)
        tower.patches.trunk.blocks.requires_grad_(False)


def _parts(maps: NDArray[np.float16], size: int = 128) -> Iterator[NDArray[np.float16]]:
    """Copies (a memory map is read-only, which torch does not take), one at a time."""
    for start in range(0, len(maps), size):
        yield np.array(maps[start : start + size])


def encode_maps(tower: VisionTower, maps: Tensor, keep: Tensor | None, channels: Tensor | None = None) -> Tensor:
    """The tower from the trunk's stored maps on: (B, C, G, G) -> (B, E); the same numbers as ``tower.forward``.

    keep: positions (ascending) that are seen, None for all. Only CLS leaves the last block, so only CLS is computed
    there.
    """
    patches = tower.patches
    assert isinstance(patches, ConvPatches), "stored maps need a convolutional trunk"
    features = maps.flatten(2)  # B C P
    positions: Tensor = tower.position_embedding
    cos, sin = tower.rotary_cos, tower.rotary_sin
    if keep is not None:
        features, cos, sin = features[:, :, keep], cos[keep], sin[keep]
        positions = torch.cat((positions[:, :1], positions[:, 1:][:, keep]), dim=1)
    head = patches.trunk.head
    tokens = F.relu6(F.linear(features.float().transpose(1, 2), head.weight.flatten(1), head.bias))
    if channels is not None:
        tokens = tokens * channels
    x = torch.cat((tower.cls_token.expand(len(maps), -1, -1), patches.projection(tokens)), dim=1) + positions
    *first, last = tower.blocks
    for block in first:
        x = block(x, cos, sin)
    assert isinstance(last, VisionBlock)
    vectors: Tensor = tower.norm(_cls_through(last, x, cos, sin)[:, 0])
    return vectors


def _cls_through(block: VisionBlock, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """A block's output at CLS alone: (B, 1+P, D) -> (B, 1, D)."""
    attention, normed = block.attention, block.norm1(x)
    query = attention._heads(F.linear(normed[:, :1], attention.query.weight, attention.query_bias))
    key = attention._rotate(attention._heads(F.linear(normed, attention.key.weight)), cos, sin)
    value = attention._heads(F.linear(normed, attention.value.weight, attention.value_bias))
    mixed = F.scaled_dot_product_attention(query, key, value)
    cls: Tensor = x[:, :1] + attention.out(attention.inner_norm(mixed.transpose(1, 2).flatten(2)))
    out: Tensor = cls + block.feed_forward(block.norm2(cls))
    return out


@torch.inference_mode()
def classify_maps(
    head_weight: Tensor, head_bias: Tensor, classifier: tuple[Tensor, Tensor], maps: NDArray[np.float16], top: int = 16
) -> tuple[Tensor, Tensor]:
    """The trunk's classifier over stored maps: the likeliest classes (N, top) and their renormalised probabilities."""
    classes, shares = [], []
    for part in _parts(maps, 512):
        features = torch.from_numpy(part).float().flatten(2).transpose(1, 2)
        with torch.autocast("cpu", torch.bfloat16):
            pooled = F.relu6(F.linear(features, head_weight.flatten(1), head_bias)).float().mean(dim=1)
        best = F.softmax(F.linear(pooled, *classifier), dim=1).topk(top, dim=1)
        classes.append(best.indices)
        shares.append(best.values / best.values.sum(dim=1, keepdim=True))
    return torch.cat(classes), torch.cat(shares)


@torch.inference_mode()
def start_from_pooled(tower: VisionTower, maps: NDArray[np.float16], targets: Tensor, ridge: float = 0.03) -> None:
    """A warm start: the projection is the ridge regression of the targets on pooled features, and the first block
    begins by giving CLS the mean of the projected tokens. What the blocks add beyond that starts near zero."""
    patches = tower.patches
    assert isinstance(patches, ConvPatches)
    head = patches.trunk.head
    parts = (torch.from_numpy(part).float().flatten(2).transpose(1, 2) for part in _parts(maps, 256))
    tokens = (F.relu6(F.linear(part, head.weight.flatten(1), head.bias)) for part in parts)
    pooled = torch.cat([part.mean(dim=1) for part in tokens]).double()
    centred = pooled - pooled.mean(dim=0)
    penalty = ridge * centred.pow(2).mean() * len(pooled) * torch.eye(pooled.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ targets.double()).T
    scale = 1.0 / float((centred @ weight.T).std())  # tokens of about unit size, as a pre-norm block expects
    patches.projection.weight.copy_((weight * scale).float())
    patches.projection.bias.copy_((-(weight @ pooled.mean(dim=0)) * scale).float())
    first = tower.blocks[0]
    assert isinstance(first, VisionBlock)
    for linear in (first.attention.value, first.attention.out):
        linear.weight.copy_(torch.eye(tower.config.width))
    for block in tower.blocks:
        assert isinstance(block, VisionBlock)
        block.feed_forward.down.weight.mul_(0.1)
