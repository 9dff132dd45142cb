"""Formats of vectors as clients read them."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from babelclip.serve.encoding_formats import FORMATS, Encoding, read_dimensions, read_formats
from babelclip.serve.errors import InvalidInput

RAW = np.array([3.0, -4.0, 0.5, -0.5, 1, -1, 1, -1, 1, -1, 1, -1], np.float32)


def test_a_lone_format_is_the_value_and_a_list_a_dictionary() -> None:
    plain = Encoding(dim=2).encode(RAW)
    assert plain == pytest.approx([0.6, -0.8])
    both = Encoding(formats=("base64", "float"), by_format=True, dim=2).encode(RAW)
    assert list(both) == ["base64", "float"]
    assert np.frombuffer(base64.b64decode(both["base64"]), "<f4") == pytest.approx([0.6, -0.8])


def test_every_format_of_the_contract() -> None:
    sent = Encoding(formats=FORMATS, by_format=True).encode(RAW)
    assert sent["ubinary"] == [170, 160]  # alternating signs over 12 dimensions: the check value of the contract
    assert sent["binary"] == [42, 32]
    assert np.array(sent["int8"]) + 128 == pytest.approx(sent["uint8"])
    assert Encoding(normalize=False).encode(RAW) == RAW.tolist()


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ((None, None, None), (("float",), False)),
        (("binary", None, None), (("binary",), False)),
        ((None, "base64", None), (("base64",), False)),
        ((None, None, "base64"), (("base64",), False)),
        (("binary", None, "base64"), (("binary",), False)),  # OpenAI's client adds its own unasked
        (("int8", "int8", None), (("int8",), False)),
        ((["float", "binary", "float"], None, None), (("float", "binary"), True)),
    ],
)  # fmt: skip
def test_which_format_is_meant(sent: tuple[object, object, object], meant: object) -> None:
    assert read_formats(*sent) == meant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "said"),
    [(("int8", "float", None), "older name"), (("int4", None, None), "'int4'"), (([], None, None), "an empty list")],
)
def test_formats_that_are_refused(sent: tuple[object, object, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_formats(*sent)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sent", "meant"), [(None, None), (1, 1), (384, 384), ("64", 64), ("0064", 64)])
def test_dimensions(sent: int | str | None, meant: int | None) -> None:
    assert read_dimensions(sent, 384) == meant


@pytest.mark.parametrize("sent", [0, 385, -1, "0", "385", "12.5", "", "x", "1e2", "٣", "9" * 5000, True, 6.5])
def test_dimensions_that_are_refused(sent: int | str) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 384"):
        read_dimensions(sent, 384)
