"""Figures that a model has to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from babelclip.evaluate.task import Score, whole


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure over the languages of one task.

    ``languages`` empty means all that the task measured except English, which must then be ``others`` many: English
    left out of a mean over "the others" is the stricter reading.
    """

    name: str
    task: str
    metric: str
    at_least: float
    languages: tuple[str, ...] = ()
    others: int = 0
    of: Literal["mean", "worst"] = "mean"


@dataclass(frozen=True, slots=True)
class BarResult:
    """``value`` is None where the languages that the bar asks for were not all measured; it is then not met."""

    name: str
    at_least: float
    value: float | None
    met: bool
    note: str = ""


def judge(bar: Bar, scores: Iterable[Score]) -> BarResult:
    """Compare the scores of the bar's task, those of whole vectors, with the bar."""
    values = {score.language: score.value for score in whole(scores) if score.metric == bar.metric}
    wanted: Sequence[str] = bar.languages or sorted(language for language in values if language != "en")
    missing = [language for language in wanted if language not in values]
    if missing or (not bar.languages and len(wanted) != bar.others):
        lack = (
            f"not measured in {', '.join(missing)}" if missing else f"{len(wanted)} other languages, not {bar.others}"
        )
        return BarResult(bar.name, bar.at_least, None, False, lack)
    chosen = [values[language] for language in wanted]
    if bar.of == "mean":
        value, note = sum(chosen) / len(chosen), ""
    else:
        value = min(chosen)
        note = wanted[chosen.index(value)]
    return BarResult(bar.name, bar.at_least, value, value >= bar.at_least, note)
