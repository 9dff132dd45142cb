"""Run a suite over an encoder, task by task; a run that was cut off goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babelclip.arrays import Vectors
from babelclip.evaluate.encode import WHOLE_VECTORS, EncodeOnce, EncodingProgress, VectorForm, silent
from babelclip.evaluate.results import Result, TaskResult, describe_origin, now, read_result, write_result
from babelclip.evaluate.suites import Suite
from babelclip.evaluate.targets import TargetResult, judge
from babelclip.evaluate.task import Score, Task

if TYPE_CHECKING:
    from babelclip.encodes import Encodes

_Say = Callable[[str], None]


def say_nothing(message: str) -> None:
    """A listener that shows nothing."""


def run_task(
    task: Task,
    encoder: Encodes,
    forms: Sequence[VectorForm] = (WHOLE_VECTORS,),
    *,
    dim: int | None = None,
    seed: int = 0,
    progress: EncodingProgress = silent,
) -> tuple[TaskResult, int | None]:
    """Scores of one task in every form, with the time that they took; and the width of the encoder's vectors."""
    began = time.perf_counter()
    memory: dict[str | bytes, Vectors] | None = {} if len(forms) > 1 else None
    scores: list[Score] = []
    width: int | None = None
    for form in forms:
        encode = EncodeOnce(encoder, dim, progress, form=form, memory=memory)
        scores += [replace(score, dim=form.dim, precision=form.precision) for score in task.run(encode, seed)]
        width = width or encode.width
    return TaskResult(task.facts, round(time.perf_counter() - began, 2), tuple(scores)), width


def run_suite(
    suite: Suite,
    encoder: Encodes,
    facts: Mapping[str, Any],
    *,
    out: Path | None = None,
    dim: int | None = None,
    forms: Sequence[VectorForm] = (WHOLE_VECTORS,),
    seed: int = 0,
    progress: EncodingProgress = silent,
    say: _Say = say_nothing,
) -> Result:
    """Run every task of a suite and judge its bars.

    Args:
        facts: what the encoder says of itself (``encoder.facts()``); goes into the result as it is.
        out: result file. It is written after every task; when it is there, unfinished, and of the very same origin
            (model, code, machine, seed, dim, forms), tasks whose data and settings are unchanged are not run again.
        dim: width of the vectors; None for the model's own.
        forms: what is measured of the vectors: whole, cut, quantized.
        seed: of the bootstrap intervals.
        progress: called while texts and images are encoded.
        say: called with one line at the begin and end of each task.
    """
    origin = describe_origin(facts, dim, suite.name, seed, [asdict(form) for form in forms])
    result = Result(origin, now(), False, None, (), ())
    earlier = _unfinished(out, result, say)
    kept = {task.facts.name: task for task in earlier.tasks} if earlier else {}
    width = earlier.width if earlier else None
    for task in suite.tasks:
        done = kept.get(task.facts.name)
        if done is None or done.facts != task.facts:
            say(f"{task.facts.name} ...")
            done, found = run_task(task, encoder, forms, dim=dim, seed=seed, progress=progress)
            width = found or width
            say(f"{task.facts.name}: {len(done.scores)} scores in {done.seconds:.0f} s")
        else:
            say(f"{task.facts.name}: kept from the run that was cut off")
        tasks = (*result.tasks, done)
        result = Result(origin, result.date, False, width, tasks, ())
        if out is not None:
            write_result(result, out)
    result = replace(result, finished=True, targets=_judge_all(suite, result))
    if out is not None:
        write_result(result, out)
    return result


def _judge_all(suite: Suite, result: Result) -> tuple[TargetResult, ...]:
    return tuple(judge(target, result.task(target.task).scores) for target in suite.targets)


def _unfinished(out: Path | None, fresh: Result, say: _Say) -> Result | None:
    """The run that was cut off, if it had the same origin. Anything else is measured anew."""
    if out is None or not out.exists():
        return None
    earlier = read_result(out)  # a file that is no result is not overwritten: this raises
    if earlier.finished:
        say(f"{out} holds a finished run; it will be replaced")
        return None
    if earlier.origin != fresh.origin:
        say(f"{out} holds an unfinished run of another model, code or machine; starting anew")
        return None
    return earlier
