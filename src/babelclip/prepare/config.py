"""What happens to a text or an image before the model sees it: frozen, stored with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ResizeMode = Literal["shortest", "squash", "longest"]
Interpolation = Literal["bicubic", "bilinear"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPrepareConfig:
    """How texts become token ids.

    ``instructions`` maps each task that the model knows to the prefix it adds (possibly empty).
    ``adapters`` names the model's LoRA adapters in order; ``always_adapter`` is the one that every text uses
    whatever its task (jina-clip-v2), ``None`` where the task chooses and no task means no adapter (jina-embeddings-v3).
    """

    max_tokens: int  # the model's whole context, special tokens included
    pad_id: int = 1
    instructions: Mapping[str, str] = field(default_factory=dict)
    default_task: str | None = None  # the task of a call that names none
    adapters: tuple[str, ...] = ()
    always_adapter: str | None = None
    strip: bool = False  # white space around a text is dropped first


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePrepareConfig:
    """How images become pixels.

    The published way is the default (docs/reference/published-model.md#image-preparation).
    """

    size: int  # side in pixels of the square that the model sees
    resize_mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    fill: int = 0  # gray value of the padding in mode "longest"
    alpha: Literal["drop", "white"] = "drop"  # "drop" shows hidden colors, as published
    orientation: Literal["ignore", "upright"] = "ignore"  # what to do with an EXIF orientation
