from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from babelclip.vectors import quantize

Call = Callable[..., tuple[int, str, str]]


def rows_of(lines: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_texts_and_images_in_their_order(call: Call, pictures: Path) -> None:
    code, out, err = call("embed", "two dogs", pictures / "a.jpg", "黎明的桥", pictures / "b.png")
    rows = rows_of(out)
    assert (code, err) == (0, "")
    assert [row["kind"] for row in rows] == ["text", "image", "text", "image"]
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert rows[2]["input"] == "黎明的桥"
    assert np.linalg.norm(rows[1]["vector"]) == pytest.approx(1, abs=1e-6)


def test_json_floats_read_back_to_the_same_float32(call: Call, encoder: object) -> None:
    _, out, _ = call("embed", "two dogs")
    expected = encoder.encode_text(["two dogs"])[0]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.array(rows_of(out)[0]["vector"], np.float32), expected)


def test_a_failed_item_costs_only_itself(call: Call, pictures: Path) -> None:
    listed = pictures / "errors.jsonl"
    code, out, err = call("embed", pictures / "a.jpg", pictures / "broken.jpg", "text", "--errors-to", listed)
    assert code == 3
    assert [row["index"] for row in rows_of(out)] == [0, 2]
    assert "item 1" in err
    assert "broken.jpg" in err
    assert rows_of(listed.read_text())[0]["error"] == "no such file"


def test_nothing_good_is_a_failure(call: Call, pictures: Path) -> None:
    assert call("embed", pictures / "broken.jpg")[0] == 1
    code, _, err = call("embed", pictures / "broken.jpg", "--out", pictures / "out.npy")
    assert code == 1
    assert "was not written" in err
    assert not (pictures / "out.npy").exists()
    assert not list(pictures.glob(".*part"))


def test_a_mistyped_image_name_does_not_become_a_text(call: Call, pictures: Path) -> None:
    code, out, err = call("embed", "text", pictures / "absent.jpg", "absent.jpg", "absent.heic")
    assert code == 3
    assert len(rows_of(out)) == 1
    assert err.count("no such file") == 3
    code, out, _ = call("embed", "absent.jpg", "--text")
    assert (code, rows_of(out)[0]["kind"]) == (0, "text")


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed"],
        ["embed", "-", "text"],
        ["embed", "x", "--out", "vectors.csv"],
        ["embed", "x", "--dim", "0"],
        ["embed", "x", "--dim", "17"],
        ["embed", "x", "--dim", "many"],
        ["embed", "x", "--precision", "int4"],
        ["embed", "x", "--task", "unknown"],
        ["embed", "x", "--text", "--image"],
        ["embed", "x", "--nonsense"],
        ["nonsense"],
        ["similarity", "one"],
        ["similarity", "a", "b", "--top", "0"],
        ["classify"],
        ["classify", "x.jpg"],
        ["classify", "x.jpg", "--labels", " , "],
        ["classify", "x.jpg", "--labels", "a,b", "--labels-file", "labels.txt"],
        ["classify", "x.jpg", "--labels", "a,b", "--prompt", "a photo"],
        ["embed", "./"],
    ],
    ids=" ".join,
)
def test_wrong_usage(call: Call, arguments: list[str]) -> None:
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert err.strip()


def test_json_lines_from_stdin(call: Call, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        '"a text"',
        "",
        '{"text": "another", "id": "x7"}',
        "no json",
        json.dumps({"image": str(pictures / "a.jpg")}),
        '{"text": "a", "image": "b"}',
        "17",
        '{"text": 17}',
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    code, out, err = call("embed", "-")
    rows = rows_of(out)
    assert code == 3
    assert [(row["index"], row["kind"]) for row in rows] == [(0, "text"), (1, "text"), (3, "image")]
    assert rows[1]["id"] == "x7"
    assert len(err.splitlines()) == 4
    assert "not a line of JSON" in err


def test_long_input_goes_in_steps(call: Call, encoder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(json.dumps(f"text {i}") for i in range(600))))
    code, out, _ = call("embed", "-")
    assert code == 0
    assert [row["input"] for row in rows_of(out)] == [f"text {i}" for i in range(600)]
    assert encoder.calls == [256, 256, 88]  # type: ignore[attr-defined]


def test_a_data_uri_is_cut_in_results(call: Call) -> None:
    code, out, _ = call("embed", "data:image/png;base64," + "A" * 5000)
    assert code == 0
    assert len(out) < 1000
    assert rows_of(out)[0]["kind"] == "image"


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_files_hold_the_same_vectors(call: Call, encoder: object, pictures: Path, kind: str) -> None:
    floats = encoder.encode_text(["two dogs", "a cat"], dim=12)  # type: ignore[attr-defined]
    expected = floats if kind == "float32" else quantize(floats, kind)  # type: ignore[arg-type]
    texts = ["two dogs", pictures / "broken.jpg", "a cat"]

    def written(suffix: str) -> Path:
        out = pictures / f"vectors{suffix}"
        code, shown, _ = call("embed", *texts, "--precision", kind, "--dim", "12", "--out", out)
        assert (code, shown) == (3, "")
        return out

    matrix = np.load(written(".npy"))
    assert matrix.dtype == expected.dtype
    np.testing.assert_array_equal(matrix[[0, 2]], expected)
    assert np.isnan(matrix[1]).all() if kind == "float32" else not matrix[1].any()

    arrays = np.load(written(".npz"))
    np.testing.assert_array_equal(arrays["vectors"], expected)
    np.testing.assert_array_equal(arrays["index"], [0, 2])
    assert arrays["input"].tolist() == ["two dogs", "a cat"]

    table = pyarrow.parquet.read_table(written(".parquet"))
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist()).astype(expected.dtype), expected)
    assert table["index"].to_pylist() == [0, 2]

    rows = rows_of(written(".jsonl").read_text())
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows]).astype(expected.dtype), expected)


def test_parquet_in_several_row_groups(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(json.dumps(f"text {i}") for i in range(2500))))
    assert call("embed", "-", "--out", tmp_path / "v.parquet")[0] == 0
    table = pyarrow.parquet.read_table(tmp_path / "v.parquet")
    assert table["index"].to_pylist() == list(range(2500))


def test_a_file_appears_only_when_complete(
    call: Call, encoder: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "v.npy"
    out.write_bytes(b"older")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder, "encode_text", interrupted)
    assert call("embed", "x", "--out", out)[0] == 130
    assert out.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]
