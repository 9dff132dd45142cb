"""Finishing, comparing, ranking and quantizing vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip.errors import ConfigError
from babelclip.vectors import finish, quantize, similarity, top_k


def random_rows(rows: int, width: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return (np.random.default_rng(seed).normal(size=(rows, width)) * 15).astype(np.float32)


def test_finish_cuts_then_normalizes() -> None:
    raw = random_rows(5, 64)
    for dim in (1, 7, 32, 64):
        found = finish(raw, dim)
        assert found.shape == (5, dim)
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        expected = raw[:, :dim].astype(np.float64)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(finish(finish(raw), dim), found, atol=1e-6)  # a prefix of the long one, renormalized
    np.testing.assert_array_equal(finish(raw, 7, normalize=False), raw[:, :7])


def test_finish_leaves_its_input_alone_and_gives_its_own_memory() -> None:
    raw = random_rows(3, 8)
    before = raw.copy()
    for normalize in (True, False):
        found = finish(raw, None, normalize)
        found[:] = 0
        np.testing.assert_array_equal(raw, before)
        assert found.flags.c_contiguous


def test_finish_of_zero_nan_nothing_and_other_dtypes() -> None:
    assert (finish(np.zeros((2, 4), np.float32)) == 0).all()
    assert np.isnan(finish(np.array([[np.nan, 1], [3, 4]]))[0]).all()
    np.testing.assert_allclose(finish(np.array([[3.0, 4.0]], np.float16)), [[0.6, 0.8]], atol=1e-6)
    assert finish(np.empty((0, 4), np.float32), 2).shape == (0, 2)
    tiny = np.full((1, 4), 1e-15, np.float32)
    np.testing.assert_allclose(finish(tiny), tiny / 1e-12)  # as torch's normalize with its epsilon


@pytest.mark.parametrize("dim", [0, -1, 65, 1.5, True, "8"])
def test_finish_refuses_widths_out_of_range(dim: Any) -> None:
    with pytest.raises(ConfigError, match="dim must be a whole number from 1 to 64"):
        finish(random_rows(2, 64), dim)
    with pytest.raises(ConfigError, match=r"shape \(N, E\), found \(64,\)"):
        finish(random_rows(1, 64)[0])


def test_similarity_is_the_cosine() -> None:
    first, second = random_rows(4, 16), random_rows(6, 16, seed=1)
    found = similarity(first, second)
    assert found.shape == (4, 6)
    assert found.dtype == np.float32
    for i in range(4):
        for j in range(6):
            a, b = first[i].astype(np.float64), second[j].astype(np.float64)
            assert found[i, j] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    np.testing.assert_allclose(similarity(first * 3, second / 7), found, atol=1e-6)
    np.testing.assert_allclose(np.diag(similarity(first, first)), 1, atol=1e-6)


def test_similarity_of_single_vectors_zero_and_nan() -> None:
    rows = random_rows(3, 8)
    assert similarity(rows[0], rows).shape == (1, 3)
    assert similarity(rows, rows[0]).shape == (3, 1)
    assert (similarity(np.zeros(8), rows) == 0).all()
    rows[1] = np.nan
    assert np.isnan(similarity(rows, rows)[1]).all()
    assert np.isfinite(similarity(rows, rows)[0, [0, 2]]).all()


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
def test_similarity_refuses_quantized_forms_and_other_widths(kind: Any) -> None:
    rows = random_rows(3, 8)
    with pytest.raises(ConfigError, match="vectors of floats"):
        similarity(quantize(rows, kind), quantize(rows, kind))
    with pytest.raises(ConfigError, match="widths 8 and 4"):
        similarity(rows, rows[:, :4])
    with pytest.raises(ConfigError, match="shape"):
        similarity(rows[None], rows)


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(0, 4), columns=st.integers(1, 30), k=st.integers(1, 40), seed=st.integers(0, 999))
def test_top_k_equals_a_stable_sort(rows: int, columns: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(-3, 4, (rows, columns)).astype(np.float32)  # full of ties
    indices, values = top_k(scores, k)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1))


def test_top_k_puts_nan_last_and_checks_its_arguments() -> None:
    indices, values = top_k(np.array([[np.nan, -5.0, 2.0, np.nan]]), 4)
    assert indices.tolist() == [[2, 1, 0, 3]]
    assert np.isnan(values[0, 2:]).all()
    assert top_k(np.empty((2, 0)), 3)[0].shape == (2, 0)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        top_k(np.zeros((1, 3)), 0)
    with pytest.raises(ConfigError, match="shape"):
        top_k(np.zeros(3), 1)


def test_bits_are_packed_as_the_contract_says() -> None:
    """The check value of docs/reference/http.md#forms-of-a-vector: alternating signs over 12 dimensions."""
    vectors = np.array([[1, -1] * 6], dtype=np.float32)
    assert quantize(vectors, "ubinary").tolist() == [[170, 160]]
    assert quantize(vectors, "binary").tolist() == [[42, 32]]
    assert quantize(vectors, "ubinary").dtype == np.uint8
    assert quantize(vectors, "binary").dtype == np.int8


def test_bits_come_back_and_zero_is_not_positive() -> None:
    vectors = random_rows(4, 1024)
    assert quantize(vectors, "binary").shape == (4, 128)
    bits = np.unpackbits((quantize(vectors, "binary").astype(np.int16) + 128).astype(np.uint8), axis=1)
    np.testing.assert_array_equal(bits, vectors > 0)
    assert quantize(np.array([[0.0, -0.0, 1e-30, -1e-30, 0, 0, 0, 0]]), "ubinary").tolist() == [[0b00100000]]
    assert quantize(np.full((1, 8), -1.0), "binary").tolist() == [[-128]]
    assert quantize(np.full((1, 8), 1.0), "binary").tolist() == [[127]]


def test_int8_is_127_times_the_normalized_vector_rounded() -> None:
    vectors = finish(random_rows(50, 256))
    expected = np.round(127 * vectors)
    for scale in (1, 20, 0.001):  # the length of the vector does not matter
        found = quantize(vectors * np.float32(scale), "int8")
        assert found.dtype == np.int8
        assert np.abs(found - expected).max() <= (scale != 1)  # scaling may move a number over a rounding border
        assert (found == expected).mean() > 0.999
    unsigned = quantize(vectors, "uint8")
    assert unsigned.dtype == np.uint8
    np.testing.assert_array_equal(unsigned.astype(int), quantize(vectors, "int8").astype(int) + 128)


def test_int8_at_its_ends() -> None:
    ends = np.array([[1.0, 0.0], [-1.0, 0.0], [1.0000001, 0.0], [0.6, -0.8], [0.0, 0.0]], dtype=np.float32)
    assert quantize(ends, "int8").tolist() == [[127, 0], [-127, 0], [127, 0], [76, -102], [0, 0]]
    assert quantize(ends, "uint8").tolist() == [[255, 128], [1, 128], [255, 128], [204, 26], [128, 128]]
    assert quantize(ends[3], "int8").tolist() == [76, -102]  # a single vector too


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
def test_what_cannot_be_quantized(kind: Any) -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(ConfigError, match="NaN or infinity"):
            quantize(np.array([[1.0, value]]), kind)
    with pytest.raises(ConfigError, match="needs vectors of floats"):
        quantize(np.array([[1, 2]]), kind)
    with pytest.raises(ConfigError, match="unknown quantization 'float16'; known are int8, uint8, binary, ubinary"):
        quantize(np.array([[1.0]]), "float16")  # type: ignore[arg-type]
