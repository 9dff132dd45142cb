"""Mining: the hardest wrong passages, never a right one, none that is as good as right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from babelclip.cli.main import run
from babelclip.errors import ConfigError
from babelclip.train.data.negatives import mine
from babelclip.train.data.text_rows import TextRow, read_text_rows

ANGLES = {"q": 0, "right": 20, "also right": 21, "near": 30, "nearer": 25, "far": 80, "twin": 19}


class Angles:
    """Texts as directions in a plane, in degrees."""

    dim = 2

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        radians = np.radians([ANGLES[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


ROWS = [TextRow("q", "right"), TextRow("q", "also right"), TextRow("far", "near")]


def test_the_hardest_that_are_not_right() -> None:
    found, without = mine(ROWS, Angles(), negatives=2, corpus=["nearer", "far", "twin"], below=1.0)
    # "twin" scores above "right" for q, so it may be right as well; for "also right" it is above too
    assert found[0] == TextRow("q", "right", ("nearer", "near"))
    assert found[1] == TextRow("q", "also right", ("nearer", "near"))
    assert without == 0


def test_what_is_nearly_as_good_is_passed_over() -> None:
    found, without = mine(ROWS[:2], Angles(), negatives=1, corpus=["nearer", "near", "far"], below=0.95)
    assert [row.negatives for row in found] == [("near",), ("near",)]
    found, without = mine(ROWS[:1], Angles(), negatives=2, corpus=["nearer", "near"], below=0.95)
    assert (found, without) == ([], 1)


def test_numbers_out_of_range() -> None:
    for settings in ({"negatives": 0}, {"negatives": 1, "below": 0.0}, {"negatives": 9}):
        with pytest.raises(ConfigError):
            mine(ROWS, Angles(), **settings)


def test_the_command_writes_what_the_trainer_reads(tmp_path: Path) -> None:
    pairs = [("a dog on the beach", "a puppy by the sea"), ("a red car", "a scarlet automobile"), ("soup", "hot broth")]
    lines = [json.dumps({"query": query, "passage": passage}) for query, passage in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    (tmp_path / "more.txt").write_text("a wolf in the snow\n\na green bicycle\n")
    arguments = ["mine", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "t.jsonl"), "--negatives", "2"]
    assert run([*arguments, "--corpus", str(tmp_path / "more.txt"), "--below", "1.0"]) == 0
    rows = read_text_rows(tmp_path / "t.jsonl", negatives=2)
    assert [row.anchor for row in rows] == [query for query, _ in pairs]
    assert all(row.positive not in row.negatives for row in rows)
