"""Results on disk: the scores and everything needed to know what they are scores of."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from babelclip.atomic_write import write_text
from babelclip.decode import parse_json
from babelclip.errors import DatasetError
from babelclip.evaluate.targets import TargetResult
from babelclip.evaluate.task import DataFile, Score, TaskFacts
from babelclip.version import __version__

_FORMAT = 1
PACKAGE = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Origin:
    """Which encoder, which code, which machine. Two runs of equal origin may share scores."""

    model: dict[str, Any]  # encoder.facts(): name, fingerprint, runtime, device, dtype, threads, ...
    dim: int | None  # as asked for; None is the model's own
    suite: str
    seed: int
    version: str
    commit: str | None  # of the checkout that the code runs from; "+changes" where files differ from it
    code: str  # sha256 over the package's own source files: what really ran, with or without git
    machine: dict[str, Any]
    forms: list[dict[str, Any]] = field(default_factory=list)  # what was measured of the vectors; none: whole alone


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Scores of one task."""

    facts: TaskFacts
    seconds: float
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A run of a suite, finished or not."""

    origin: Origin
    date: str  # UTC, when the run began
    finished: bool
    width: int | None  # numbers in a vector, as measured
    tasks: tuple[TaskResult, ...]
    targets: tuple[TargetResult, ...]

    def task(self, name: str) -> TaskResult:
        """The result of one task.

        Raises:
            DatasetError: this result has no such task.
        """
        for task in self.tasks:
            if task.facts.name == name:
                return task
        raise DatasetError(f"no task {name!r} in this result; it has {', '.join(t.facts.name for t in self.tasks)}")


def describe_origin(
    model: Mapping[str, Any], dim: int | None, suite: str, seed: int, forms: Sequence[Mapping[str, Any]] = ()
) -> Origin:
    """The origin of a run that begins now, here."""
    plain = json.loads(json.dumps(dict(model), default=str))  # as it will come back from the file
    return Origin(plain, dim, suite, seed, __version__, _commit(), _code(), _machine(), [*map(dict, forms)])


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_result(result: Result, path: Path) -> None:
    """Write as JSON; the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": _FORMAT, **asdict(result)}, ensure_ascii=False, indent=1, default=str)
    write_text(path, text + "\n")


def read_result(path: Path) -> Result:
    """Read what ``write_result`` wrote.

    Raises:
        DatasetError: no such file, or not a result file of this format.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(
            f"there is no result file {path} ({error.strerror}); `babelclip evaluate --out` makes it"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path} is not a result file: {error}") from error
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found != _FORMAT:
        raise DatasetError(f"{path}: expected result format {_FORMAT}, found {found}")
    try:
        return Result(
            origin=Origin(**content.pop("origin")),
            tasks=tuple(_task_result(task) for task in content.pop("tasks")),
            targets=tuple(TargetResult(**target) for target in content.pop("targets")),
            **content,
        )
    except (TypeError, KeyError) as error:
        raise DatasetError(f"{path} is not a result file of format {_FORMAT}: {error}") from error


def _task_result(content: dict[str, Any]) -> TaskResult:
    facts = content["facts"]
    return TaskResult(
        facts=TaskFacts(
            name=facts["name"],
            family=facts["family"],
            data=tuple(DataFile(**file) for file in facts["data"]),
            licenses=tuple(facts["licenses"]),
            settings=facts["settings"],
        ),
        seconds=content["seconds"],
        scores=tuple(Score(**score) for score in content["scores"]),
    )


def _code() -> str:
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _commit() -> str | None:
    """Commit of the checkout that holds this file; None where it is installed elsewhere or git is not at hand."""
    try:
        root = _git(PACKAGE, "rev-parse", "--show-toplevel")
        if Path(root).resolve() / "src" / "babelclip" != PACKAGE:
            return None  # an environment inside some other repository
        head = _git(PACKAGE, "rev-parse", "HEAD")
        return head + ("+changes" if _git(PACKAGE, "status", "--porcelain", "--", str(PACKAGE)) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads_set": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
