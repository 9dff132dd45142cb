"""Figures that a model has to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from babelclip.evaluate.task import Score


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure over the languages of one task.

    ``languages`` empty means all that the task measured with ``least_count`` queries; with ``others``, English is not
    among them and they must be so many: English left out of a mean over "the others" is the stricter reading.
    ``keeps`` asks for the share, in percent, that cut vectors keep of what whole ones reach.
    """

    name: str
    task: str
    metrics: tuple[str, ...]  # averaged, language by language
    at_least: float
    languages: tuple[str, ...] = ()
    others: int = 0
    least_count: int = 0
    of: Literal["mean", "worst", "share above 50"] = "mean"
    aim: float | None = None
    dim: int | None = None  # of vectors cut to so many numbers; None: whole ones
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class BarResult:
    """``value`` is None where what the bar asks for was not all measured; it is then not met."""

    name: str
    at_least: float
    value: float | None
    met: bool
    note: str = ""
    aim: float | None = None


def judge(bar: Bar, scores: Iterable[Score]) -> BarResult:
    """Compare the scores of the bar's task with the bar."""
    scores = list(scores)
    values, lack = _by_language(bar, scores, bar.dim)
    whole: dict[str, float] = {}
    if bar.keeps and not lack:
        whole, lack = _by_language(bar, scores, None)
    if lack:
        return BarResult(bar.name, bar.at_least, None, False, lack, bar.aim)
    value, note = _summary(bar, values)
    if bar.keeps:
        value *= 100 / _summary(bar, whole)[0]
    return BarResult(bar.name, bar.at_least, value, value >= bar.at_least, note, bar.aim)


def _by_language(bar: Bar, scores: Sequence[Score], dim: int | None) -> tuple[dict[str, float], str]:
    """Language -> mean of the bar's metrics; and what is missing, in words."""
    found: dict[str, dict[str, float]] = {}
    for score in scores:
        is_form = score.dim == dim and score.precision == "float32"
        if is_form and score.metric in bar.metrics and score.count >= bar.least_count:
            found.setdefault(score.language, {})[score.metric] = score.value
    wanted: Sequence[str] = bar.languages or [lang for lang in sorted(found) if lang != "en" or not bar.others]
    missing = [language for language in wanted if len(found.get(language, {})) < len(bar.metrics)]
    if missing:
        return {}, f"not measured in {', '.join(missing)}"
    if bar.others and len(wanted) != bar.others:
        return {}, f"{len(wanted)} other languages, not {bar.others}"
    if not wanted:
        return {}, "not measured" if dim is None else f"not measured at {dim}"
    return {language: sum(found[language].values()) / len(bar.metrics) for language in wanted}, ""


def _summary(bar: Bar, values: dict[str, float]) -> tuple[float, str]:
    if bar.of == "worst":
        worst = min(values, key=lambda language: values[language])
        return values[worst], worst
    if bar.of == "share above 50":
        return 100 * sum(value > 50 for value in values.values()) / len(values), ""
    return sum(values.values()) / len(values), ""
