"""Runs to look at and to compare: loss and held-out figures over time, from the logs that the loop writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.atomic_write import atomic_path
from babelclip.decode import decode_as, parse_json
from babelclip.errors import DatasetError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_DRAWN = frozenset({"time", "stage", "step", "rate", "seconds", "rows", "scale"})
Series = dict[str, list[tuple[int, float]]]


def read_log(path: Path) -> dict[str, Series]:
    """Stage -> figure -> (step, value) in order.

    Raises:
        DatasetError: There is no log, or it is broken.
    """
    if not path.is_file():
        raise DatasetError(f"no training log at {path}")
    stages: dict[str, Series] = defaultdict(lambda: defaultdict(list))
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = decode_as(dict[str, Any], parse_json(line), "a line")
            stage = decode_as(str, entry["stage"], "stage")
            for name, value in entry.items():
                if name not in NOT_DRAWN:
                    stages[stage][name].append((int(entry["step"]), float(value)))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DatasetError(f"{path} is no training log: {error!s:.200}") from error
    return stages


def smooth(values: list[float], weight: float = 0.9) -> list[float]:
    """Exponential mean, corrected for its start."""
    out, mean, mass = [], 0.0, 0.0
    for value in values:
        mean = weight * mean + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        out.append(mean / mass)
    return out


def last_figures(path: Path, number: int = 10) -> dict[tuple[str, str], float]:
    """(Stage, figure) -> its mean over the last entries of a log.

    Raises:
        DatasetError: There is no log.
    """
    stages = read_log(path)
    return {
        (stage, name): float(np.mean([value for _, value in points[-number:]]))
        for stage, series in stages.items()
        for name, points in series.items()
    }


def run_names(logs: Sequence[Path]) -> list[str]:
    """What to call runs in a picture: their folders' names where these differ, else the whole paths."""
    names = [log.parent.name for log in logs]
    return names if len(set(names)) == len(names) else [str(log.parent) for log in logs]


def draw_curve(logs: Sequence[Path], picture: Path) -> None:
    """One row of panels per stage, one panel per figure.

    Of one run, gray is the raw value and black the smoothed one; several runs have a color each, smoothed.

    Raises:
        DatasetError: There is no log.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = dict(zip(run_names(logs), map(read_log, logs), strict=True))
    panels: dict[str, list[str]] = {}
    for stages in runs.values():
        for stage, series in stages.items():
            panels[stage] = list(dict.fromkeys([*panels.get(stage, []), *series]))
    columns = max(map(len, panels.values()))
    size = 3.2 * columns, 2.6 * len(panels)
    figure, axes = pyplot.subplots(len(panels), columns, figsize=size, squeeze=False, layout="constrained")
    for row, (stage, names) in enumerate(panels.items()):
        for column, axis in enumerate(axes[row]):
            axis.set_visible(column < len(names))
            if column < len(names):
                found = {run: stages.get(stage, {}).get(names[column], []) for run, stages in runs.items()}
                _draw_panel(axis, f"{stage}: {names[column]}", found)
    with atomic_path(picture) as unfinished:
        figure.savefig(unfinished, dpi=110, format=picture.suffix.lstrip(".") or "png")
    pyplot.close(figure)


def _draw_panel(axis: Axes, title: str, runs: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    alone = len(runs) == 1
    for run, points in runs.items():
        steps, values = np.array([step for step, _ in points]), [value for _, value in points]
        if alone:
            axis.plot(steps, values, color="0.75", linewidth=0.8)
        smoothed = smooth(values) if len(values) > 20 else values
        axis.plot(steps, smoothed, linewidth=1.2, label=run, color="black" if alone else None)
    if not alone:
        axis.legend(fontsize=6)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("step", fontsize=8)
    axis.tick_params(labelsize=7)
