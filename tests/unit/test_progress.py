"""How far a call is: a bar on a terminal, lines elsewhere, nothing where that is asked for; all of it on stderr."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from babelclip.progress import show_progress

PROGRAM = """
import time
from babelclip.progress import show_progress
with show_progress("photos", 3, line_seconds=0) as meter:
    for _ in range(3):
        meter.advance()
    meter.say("a line")
    time.sleep(0.3)
"""


def lines(captured: pytest.CaptureFixture[str]) -> list[str]:
    """What stderr has, times left out."""
    out, err = captured.readouterr()
    assert out == ""
    return [re.sub(r" · [\d.,]+/s| · [\d:]+ left|(?<= in) [\d:]+", "", line) for line in err.splitlines()]


def test_lines_tell_count_and_share(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("photos", 4000, line_seconds=0) as meter:
        meter.advance()
        meter.advance(999)
        meter.update(4000)
    assert lines(capsys) == [
        "photos: 1 of 4,000 · 0 %",
        "photos: 1,000 of 4,000 · 25 %",
        "photos: 4,000 of 4,000 · 100 % · in",
    ]


def test_a_share_and_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("stage one", 1.0, line_seconds=0) as meter:
        meter.update(0.25, note="step 3, loss 1.5")
    assert lines(capsys)[0] == "stage one: 25 % · step 3, loss 1.5"


def test_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("photos", 10**9, line_seconds=0) as meter:
        meter.update(10)
        meter.update(20)
    *_, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"photos: 20 of 1,000,000,000 · 0 % · \d+/s · .*[\d:]+ left", last)


@pytest.mark.parametrize("total", [None, 0])
def test_a_total_that_nobody_knows(capsys: pytest.CaptureFixture[str], total: int | None) -> None:
    with show_progress("photos", total, line_seconds=0) as meter:
        meter.advance(7)
    assert lines(capsys)[0] == "photos: 7"


def test_another_thing_is_counted_from_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("texts", line_seconds=0) as meter:
        meter.update(10, 10, what="texts")
        meter.update(5, 10, what="images")
        meter.say("[b]one[/b] of two is done")
    found = lines(capsys)
    assert found[0] == "texts: 10 of 10 · 100 % · in"
    assert found[1:] == ["images: 5 of 10 · 50 %", "[b]one[/b] of two is done"]  # what stands there is not said again


def test_a_short_call_writes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("photos", 3) as meter:
        meter.advance(3)
    assert lines(capsys) == []


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("photos", 3, show=False, line_seconds=0) as meter:
        meter.advance()
        meter.update(3, what="texts", note="loss")
        meter.say("a line")
    assert lines(capsys) == []


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_terminal_has_a_bar_unless_it_cannot_redraw(terminal: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TERM": terminal, "COLUMNS": "100"},
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                written += os.read(ours, 65536)
            except OSError:  # Linux tells the end of a terminal so
                break
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == ""
    assert process.returncode == 0
    shown = written.decode()
    assert "a line" in shown
    assert "3 of 3 · 100 %" in shown
    assert ("━" in shown, "\x1b[" in shown) == ((True, True) if terminal == "xterm" else (False, False))
