"""A picture of a run: loss and held-out figures over time, from the log that the loop writes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from babelclip.errors import DatasetError

NOT_DRAWN = frozenset({"time", "stage", "step", "rate", "seconds", "rows", "scale"})
Series = dict[str, list[tuple[int, float]]]


def read_log(path: Path) -> dict[str, Series]:
    """Stage -> figure -> (step, value) in order. Raises: DatasetError when there is no log."""
    if not path.is_file():
        raise DatasetError(f"no training log at {path}")
    stages: dict[str, Series] = defaultdict(lambda: defaultdict(list))
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            if name not in NOT_DRAWN:
                stages[entry["stage"]][name].append((int(entry["step"]), float(value)))
    return stages


def smooth(values: list[float], weight: float = 0.9) -> list[float]:
    """Exponential mean, corrected for its start."""
    out, mean, mass = [], 0.0, 0.0
    for value in values:
        mean = weight * mean + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        out.append(mean / mass)
    return out


def draw_curve(log: Path, picture: Path) -> None:
    """One row of panels per stage, one panel per figure; grey is the raw value, black the smoothed one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stages = read_log(log)
    columns = max(len(series) for series in stages.values())
    figure, axes = pyplot.subplots(
        len(stages), columns, figsize=(3.2 * columns, 2.6 * len(stages)), squeeze=False, layout="constrained"
    )
    for row, (stage, series) in enumerate(stages.items()):
        for column in range(columns):
            axis = axes[row][column]
            if column >= len(series):
                axis.set_visible(False)
                continue
            name, points = list(series.items())[column]
            steps, values = np.array([p[0] for p in points]), [p[1] for p in points]
            axis.plot(steps, values, color="0.75", linewidth=0.8)
            axis.plot(steps, smooth(values) if len(values) > 20 else values, color="black", linewidth=1.2)
            axis.set_title(f"{stage}: {name}", fontsize=9)
            axis.set_xlabel("step", fontsize=8)
            axis.tick_params(labelsize=7)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
