"""How far a long call is, told in one way everywhere.

On a terminal it is a bar that is redrawn in place. Elsewhere, as in a log file, it is a line now and then. Either goes
to stderr, because stdout is for results.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

SECONDS_A_LINE = 30.0
SPEED_SECONDS = 300.0
"""The speed is what these last seconds had: steps of minutes have one too."""

_Standing: TypeAlias = tuple[str, float, str]
"""What is counted, how much is done, and the note: a line that says the same is not written twice."""


@dataclass(slots=True)
class ProgressMeter:
    """What ``show_progress`` gives: the caller says how far it is, as often as it likes."""

    _bar: Progress
    _task: Task
    _is_shown: bool
    _line_seconds: float | None  # None: no lines
    _last_line: float
    _told: _Standing | None = None

    def advance(self, by: float = 1) -> None:
        """So much more is done."""
        self._bar.advance(self._task.id, by)
        self._write_due_line()

    def update(
        self, done: float, total: float | None = None, *, what: str | None = None, note: str | None = None
    ) -> None:
        """So much is done.

        Args:
            done: of the total: a count, or a share where the total is 1.0.
            total: as before when left out.
            what: another thing that is counted from here on.
            note: what else there is to say, such as the loss.
        """
        if what is not None and what != self._task.description:
            self._bar.reset(self._task.id, total=total, description=what)
        self._bar.update(self._task.id, completed=done, total=total)
        if note is not None:
            self._bar.update(self._task.id, note=note)
        self._write_due_line()

    def say(self, line: str) -> None:
        """Write a line above the bar, or among the lines."""
        if self._is_shown:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _write_due_line(self) -> None:
        if self._line_seconds is not None and time.monotonic() - self._last_line >= self._line_seconds:
            self._write_line()

    def _write_line(self) -> None:
        self.say(f"{self._task.description}: {progress_facts(self._task)}")
        self._last_line, self._told = time.monotonic(), self._standing()

    def _standing(self) -> _Standing:
        return self._task.description, self._task.completed, self._task.fields["note"]

    def _end(self) -> None:
        if self._told is not None and self._told != self._standing():
            self._write_line()


@contextmanager
def show_progress(
    what: str, total: float | None = None, *, show: bool = True, line_seconds: float = SECONDS_A_LINE
) -> Iterator[ProgressMeter]:
    """Tell a person how far a call is.

    Args:
        what: a word or two that the bar and the lines begin with.
        total: what there is to do; None where nobody knows, and 0 is nobody's knowledge either.
        show: False where nothing shall be told: quiet was asked for, or this process is not the first of several.
        line_seconds: how often a line is written where there is no terminal.
    """
    console = Console(stderr=True)
    redraws = console.is_interactive or console.is_jupyter
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Facts(),
        console=console,
        transient=True,
        speed_estimate_period=SPEED_SECONDS,
        disable=not (show and redraws),
    )
    with bar:
        bar.add_task(what, total=total or None, note="")
        meter = ProgressMeter(bar, bar.tasks[0], show, line_seconds if show and not redraws else None, time.monotonic())
        yield meter
        meter._end()


class _Facts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(progress_facts(task))


def progress_facts(task: Task) -> str:
    """Counts, share, speed, time left and note, as far as there are any."""
    facts = []
    is_share = isinstance(task.total, float) or isinstance(task.completed, float)
    if not is_share:
        facts.append(f"{task.completed:,}" if task.total is None else f"{task.completed:,} of {task.total:,}")
    if task.total is not None:
        facts.append(f"{task.percentage:.0f} %")
    if task.speed is not None and not is_share:
        facts.append(f"{task.speed:.0f}/s" if task.speed >= 10 else f"{task.speed:.1f}/s")
    if task.finished:
        facts.append(f"in {_clock(task.elapsed or 0)}")
    elif task.time_remaining is not None:
        facts.append(f"{_clock(task.time_remaining)} left")
    if task.fields["note"]:
        facts.append(task.fields["note"])
    return " · ".join(facts)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
