"""Sizes of the towers: frozen, complete, nothing is inherited from a file that is not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from babelclip.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """LoRA adapters (Hu et al. 2021) on every Linear and Embedding of the text transformer, one per task."""

    tasks: tuple[str, ...]
    rank: int
    alpha: float

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTowerConfig:
    """XLM-RoBERTa with rotary positions and mean pooling.

    Defaults are those of the published tower (docs/reference/published-model.md#text-tower).
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    hidden: int  # width inside the feed-forward
    embed_dim: int
    rotary_base: float
    norm_eps: float = 1e-5
    pad_id: int = 1
    num_token_types: int = 1
    projection: bool = False  # bias-free Linear from width to embed_dim
    pooler: bool = False  # jina-embeddings-v3 stores one; its encode() does not use it
    adapters: AdapterConfig | None = None  # None: plain weights (no adapter, or merged)

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ConfigError(f"text width {self.width} does not divide into {self.num_heads} heads of even width")
        if not self.projection and self.width != self.embed_dim:
            raise ConfigError(
                f"text width {self.width} differs from embed_dim {self.embed_dim}: projection must be true"
            )

    @classmethod
    def jina_clip_v2(cls) -> TextTowerConfig:
        return cls(
            vocab_size=250002,
            width=1024,
            num_layers=24,
            num_heads=16,
            hidden=4096,
            embed_dim=1024,
            rotary_base=20000.0,
            adapters=AdapterConfig(tasks=("retrieval.query",), rank=4, alpha=4),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearPatchesConfig:
    """Non-overlapping square patches, one Linear each (the published models)."""

    kind: Literal["linear"] = "linear"
    size: int

    @property
    def stride(self) -> int:
        return self.size


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvStage:
    """A run of inverted residual blocks (Sandler et al. 2018) of one width."""

    kernel: int
    stride: int  # of the first block; the others have stride 1
    expansion: int
    width: int
    repeats: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvTrunkConfig:
    """A convolutional network whose last feature map gives the tokens, one per position, 1/32 of the side.

    EfficientNet-Lite (Tan & Le 2019; the Lite variants have ReLU6 and no squeeze-excite); batch norms are folded.
    """

    kind: Literal["conv_trunk"] = "conv_trunk"
    stem_width: int
    stages: tuple[ConvStage, ...]
    head_width: int
    classes: int = 0  # of the trunk's own classifier, whose answer is part of every token; 0: there is none

    @property
    def stride(self) -> int:
        stride = 2
        for stage in self.stages:
            stride *= stage.stride
        return stride

    @classmethod
    def efficientnet_lite2(cls, classes: int = 0) -> ConvTrunkConfig:
        rows = (
            (3, 1, 1, 16, 1),
            (3, 2, 6, 24, 3),
            (5, 2, 6, 48, 3),
            (3, 2, 6, 88, 4),
            (5, 1, 6, 120, 4),
            (5, 2, 6, 208, 5),
            (3, 1, 6, 352, 1),
        )
        stages = tuple(ConvStage(kernel=k, stride=s, expansion=e, width=w, repeats=n) for k, s, e, w, n in rows)
        return cls(stem_width=32, stages=stages, head_width=1280, classes=classes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Eva02VisionConfig:
    """EVA02 vision transformer (Fang et al. 2023): rotary positions, SwiGLU, sub-LN, CLS pooling."""

    kind: Literal["eva02"] = "eva02"
    image_size: int
    width: int
    num_layers: int
    head_width: int
    hidden: int  # width inside the feed-forward: int(width * mlp_ratio)
    patches: LinearPatchesConfig | ConvTrunkConfig
    pretrained_grid: int  # rotary positions are interpolated onto a grid of this side
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.width % self.head_width or self.head_width % 4:
            raise ConfigError(
                f"vision width {self.width} does not divide into heads of {self.head_width} (a multiple of 4)"
            )

    @property
    def embed_dim(self) -> int:
        return self.width

    @property
    def num_heads(self) -> int:
        return self.width // self.head_width

    @property
    def grid(self) -> int:
        """Patches per side. Linear patches leave the last pixels out; a trunk pads them."""
        if isinstance(self.patches, LinearPatchesConfig):
            return self.image_size // self.patches.size
        return -(-self.image_size // self.patches.stride)

    @classmethod
    def jina_clip_v2(cls) -> Eva02VisionConfig:
        return cls(
            image_size=512,
            width=1024,
            num_layers=24,
            head_width=64,
            hidden=2730,
            patches=LinearPatchesConfig(size=14),
            pretrained_grid=16,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipVisionConfig:
    """CLIP's vision transformer (Radford et al. 2021): learned positions, quick GELU, CLS pooling, a projection."""

    kind: Literal["clip"] = "clip"
    image_size: int
    patch_size: int  # side in pixels of a patch
    width: int
    num_layers: int
    num_heads: int
    hidden: int  # width inside the feed-forward
    embed_dim: int  # what the projection gives
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.width % self.num_heads:
            raise ConfigError(f"vision width {self.width} does not divide into {self.num_heads} heads")
        if not 1 <= self.patch_size <= self.image_size:
            raise ConfigError(f"no patch of {self.patch_size} pixels fits into an image of {self.image_size}")

    @property
    def patches(self) -> LinearPatchesConfig:
        """They have no bias here."""
        return LinearPatchesConfig(size=self.patch_size)

    @property
    def grid(self) -> int:
        """Patches per side; the last pixels that fill none are left out."""
        return self.image_size // self.patch_size

    @classmethod
    def vit_b_16(cls, image_size: int = 224) -> ClipVisionConfig:
        """ViT-B/16 as OpenAI published it, at 224 pixels."""
        return cls(
            image_size=image_size,
            patch_size=16,
            width=768,
            num_layers=12,
            num_heads=12,
            hidden=3072,
            embed_dim=512,
        )


VisionTowerConfig = Eva02VisionConfig | ClipVisionConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DualConfig:
    """Both towers of a model; ``vision`` is None for text-only models (jina-embeddings-v3)."""

    text: TextTowerConfig
    vision: VisionTowerConfig | None
    dims: tuple[int, ...]  # Matryoshka widths the model was trained for, ascending; the last is embed_dim

    def __post_init__(self) -> None:
        if self.vision is not None and self.vision.embed_dim != self.text.embed_dim:
            raise ConfigError(
                f"the towers must share one space: text gives {self.text.embed_dim}, vision {self.vision.embed_dim}"
            )

    @property
    def embed_dim(self) -> int:
        return self.text.embed_dim

    @classmethod
    def jina_clip_v2(cls) -> DualConfig:
        return cls(
            text=TextTowerConfig.jina_clip_v2(),
            vision=Eva02VisionConfig.jina_clip_v2(),
            dims=(32, 64, 128, 256, 512, 768, 1024),
        )
