"""The log of a run, over kills."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from babelclip.train.engine.run_log import RunLog


@pytest.mark.parametrize("left", ["", '{"stage": "a", "step": 1, "loss": 2.0}\n'])
def test_a_line_that_a_kill_has_cut_off_does_not_spoil_the_next(tmp_path: Path, left: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(left + '{"stage": "a", "st')
    RunLog(log).write("a", 2, {"loss": 1.0})
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == ([1, 2] if left else [2])
