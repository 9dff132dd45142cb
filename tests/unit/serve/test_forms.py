"""Forms of vectors as clients read them."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from babelclip.serve.bad_requests import InvalidInput
from babelclip.serve.forms import FORMS, formed, read_dimensions, read_forms

RAW = np.array([3.0, -4.0, 0.5, -0.5, 1, -1, 1, -1, 1, -1, 1, -1], np.float32)


def test_a_lone_form_is_the_value_and_a_list_a_dictionary() -> None:
    plain = formed(RAW, ["float"], is_lone=True, dim=2, normalize=True)
    assert plain == pytest.approx([0.6, -0.8])
    both = formed(RAW, ["base64", "float"], is_lone=False, dim=2, normalize=True)
    assert list(both) == ["base64", "float"]
    assert np.frombuffer(base64.b64decode(both["base64"]), "<f4") == pytest.approx([0.6, -0.8])


def test_every_form_of_the_contract() -> None:
    sent = formed(RAW, FORMS, is_lone=False, dim=None, normalize=True)
    assert sent["ubinary"] == [170, 160]  # alternating signs over 12 dimensions: the check value of the contract
    assert sent["binary"] == [42, 32]
    assert np.array(sent["int8"]) + 128 == pytest.approx(sent["uint8"])
    assert formed(RAW, ["float"], is_lone=True, dim=None, normalize=False) == RAW.tolist()


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ((None, None, None), (("float",), True)),
        (("binary", None, None), (("binary",), True)),
        ((None, "base64", None), (("base64",), True)),
        ((None, None, "base64"), (("base64",), True)),
        (("binary", None, "base64"), (("binary",), True)),  # OpenAI's client adds its own unasked
        (("int8", "int8", None), (("int8",), True)),
        ((["float", "binary", "float"], None, None), (("float", "binary"), False)),
    ],
)  # fmt: skip
def test_which_form_is_meant(sent: tuple[object, object, object], meant: object) -> None:
    assert read_forms(*sent) == meant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "said"),
    [(("int8", "float", None), "older name"), (("int4", None, None), "'int4'"), (([], None, None), "an empty list")],
)
def test_forms_that_are_refused(sent: tuple[object, object, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_forms(*sent)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sent", "meant"), [(None, None), (1, 1), (384, 384), ("64", 64), ("0064", 64)])
def test_dimensions(sent: int | str | None, meant: int | None) -> None:
    assert read_dimensions(sent, 384) == meant


@pytest.mark.parametrize("sent", [0, 385, -1, "0", "385", "12.5", "", "x", "1e2", "٣", "9" * 5000, True, 6.5])
def test_dimensions_that_are_refused(sent: int | str) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 384"):
        read_dimensions(sent, 384)
