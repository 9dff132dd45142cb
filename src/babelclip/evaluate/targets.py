"""Figures that a model has to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from babelclip.evaluate.task import Score


@dataclass(frozen=True, slots=True)
class Target:
    """A figure over the languages of one task.

    ``languages`` empty means all that the task measured with ``min_count`` queries; with ``others``, English is not
    among them and they must be so many: English left out of a mean over "the others" is the stricter reading.
    ``keeps`` asks for the share, in percent, that cut vectors keep of what whole ones reach.
    """

    name: str
    task: str
    metrics: tuple[str, ...]  # averaged, language by language
    at_least: float
    languages: tuple[str, ...] = ()
    others: int = 0
    min_count: int = 0
    of: Literal["mean", "worst", "share above 50"] = "mean"
    aim: float | None = None
    dim: int | None = None  # of vectors cut to so many numbers; None: whole ones
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class TargetResult:
    """``value`` is None where what the bar asks for was not all measured; it is then not met."""

    name: str
    at_least: float
    value: float | None
    met: bool
    note: str = ""
    aim: float | None = None


def judge(target: Target, scores: Iterable[Score]) -> TargetResult:
    """Compare the scores of the bar's task with the bar."""
    scores = list(scores)
    values, lack = _by_language(target, scores, target.dim)
    whole: dict[str, float] = {}
    if target.keeps and not lack:
        whole, lack = _by_language(target, scores, None)
    if lack:
        return TargetResult(target.name, target.at_least, None, False, lack, target.aim)
    value, note = _summary(target, values)
    if target.keeps:
        value *= 100 / _summary(target, whole)[0]
    return TargetResult(target.name, target.at_least, value, value >= target.at_least, note, target.aim)


def _by_language(target: Target, scores: Sequence[Score], dim: int | None) -> tuple[dict[str, float], str]:
    """Language -> mean of the bar's metrics; and what is missing, in words."""
    found: dict[str, dict[str, float]] = {}
    for score in scores:
        is_form = score.dim == dim and score.precision == "float32"
        if is_form and score.metric in target.metrics and score.count >= target.min_count:
            found.setdefault(score.language, {})[score.metric] = score.value
    wanted: Sequence[str] = target.languages or [lang for lang in sorted(found) if lang != "en" or not target.others]
    missing = [language for language in wanted if len(found.get(language, {})) < len(target.metrics)]
    if missing:
        return {}, f"not measured in {', '.join(missing)}"
    if target.others and len(wanted) != target.others:
        return {}, f"{len(wanted)} other languages, not {target.others}"
    if not wanted:
        return {}, "not measured" if dim is None else f"not measured at {dim}"
    return {language: sum(found[language].values()) / len(target.metrics) for language in wanted}, ""


def _summary(target: Target, values: dict[str, float]) -> tuple[float, str]:
    if target.of == "worst":
        worst = min(values, key=lambda language: values[language])
        return values[worst], worst
    if target.of == "share above 50":
        return 100 * sum(value > 50 for value in values.values()) / len(values), ""
    return sum(values.values()) / len(values), ""
