"""``similarity`` and ``classify``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Call = Callable[..., tuple[int, str, str]]


def test_similarity_ranks_the_others(call: Call, encoder: object, pictures: Path) -> None:
    others = ["one", "two", str(pictures / "a.jpg")]
    code, out, _ = call("similarity", "query", "--with", *others, "--json")
    row = json.loads(out)
    scores = [match["score"] for match in row["matches"]]
    assert code == 0
    assert scores == sorted(scores, reverse=True)
    assert {match["input"] for match in row["matches"]} == set(others)
    first = encoder.encode_text(["query"])[0] @ encoder.encode_text(["one"])[0]  # type: ignore[attr-defined]
    assert next(match["score"] for match in row["matches"] if match["input"] == "one") == pytest.approx(first, abs=1e-5)


def test_similarity_of_each_with_each_leaves_out_itself(call: Call) -> None:
    code, out, _ = call("similarity", "one", "two", "three", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["input"] for row in rows] == ["one", "two", "three"]
    assert all(row["input"] not in [match["input"] for match in row["matches"]] for row in rows)


def test_similarity_to_read(call: Call, pictures: Path) -> None:
    code, out, err = call("similarity", "query", "--with", "one", pictures / "broken.jpg", "two", "--top", "1")
    assert code == 3
    assert out.splitlines()[0] == "query"
    assert len(out.splitlines()) == 2
    assert "broken.jpg" in err


def test_classify_gives_probabilities(call: Call, pictures: Path) -> None:
    code, out, _ = call("classify", pictures / "a.jpg", pictures / "b.png", "--labels", "cat, dog,car", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["index"] for row in rows] == [0, 1]
    for row in rows:
        assert {found["label"] for found in row["labels"]} == {"cat", "dog", "car"}
        assert sum(found["probability"] for found in row["labels"]) == pytest.approx(1, abs=1e-5)
        chances = [found["probability"] for found in row["labels"]]
        assert chances == sorted(chances, reverse=True)


def test_classify_uses_the_models_temperature(call: Call, encoder: object, pictures: Path) -> None:
    _, out, _ = call("classify", pictures / "a.jpg", "--labels", "cat,dog", "--json")
    first, second = json.loads(out)["labels"]
    odds = np.log(first["probability"] / second["probability"])
    assert odds == pytest.approx(encoder.logit_scale * (first["score"] - second["score"]), rel=0.05)  # type: ignore[attr-defined]


def test_classify_averages_over_prompts(call: Call, encoder: object, pictures: Path) -> None:
    prompts = ["--prompt", "a photo of a {}", "--prompt", "{} in the wild"]
    _, out, _ = call("classify", pictures / "a.jpg", "--labels", "cat,dog", *prompts, "--json")
    vectors = encoder.encode_text(["a photo of a cat", "cat in the wild"])  # type: ignore[attr-defined]
    mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
    image = encoder.encode_image([pictures / "a.jpg"])[0]  # type: ignore[attr-defined]
    found = {row["label"]: row["score"] for row in json.loads(out)["labels"]}
    assert found["cat"] == pytest.approx(float(image @ mean), abs=1e-5)


def test_classify_reads_labels_from_a_file(call: Call, pictures: Path) -> None:
    (pictures / "labels.txt").write_text("cat\ndog, large\n\ncat\n", encoding="utf-8")
    code, out, _ = call("classify", pictures / "a.jpg", "--labels-file", pictures / "labels.txt")
    assert code == 0
    assert out.count("%") == 2
    assert "dog, large" in out


def test_classify_goes_on_after_a_broken_image(call: Call, pictures: Path) -> None:
    code, out, err = call("classify", pictures / "broken.jpg", pictures / "a.jpg", "--labels", "cat,dog")
    assert code == 3
    assert "a.jpg" in out
    assert "broken.jpg" in err
    assert call("classify", pictures / "broken.jpg", "--labels", "cat,dog")[0] == 1
