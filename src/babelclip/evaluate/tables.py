"""Results as Markdown tables, for the README and the documents. No figure is typed by hand."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

from babelclip.evaluate.caption_sources import WRITERS
from babelclip.evaluate.results import Result, TaskResult
from babelclip.evaluate.task import Score, whole

TableLocale = Literal["en", "zh"]

HEADINGS: dict[str, dict[TableLocale, str]] = {
    "what": {"en": "what", "zh": "指标"},
    "at_least": {"en": "at least", "zh": "目标下限"},
    "aim": {"en": "aim", "zh": "追求"},
    "not_measured": {"en": "not measured", "zh": "未测"},
    "missed": {"en": "missed", "zh": "未达标"},
    "languages": {"en": "languages", "zh": "语言数"},
    "english": {"en": "English", "zh": "英语"},
    "mean": {"en": "mean of all", "zh": "全部平均"},
    "language": {"en": "language", "zh": "语言"},
    "dim": {"en": "dim", "zh": "维"},
    "count": {"en": "queries", "zh": "查询数"},
    "text_to_image": {"en": "text to image", "zh": "文搜图"},
    "image_to_text": {"en": "image to text", "zh": "图搜文"},
    "top1": {"en": "top-1", "zh": "top-1"},
    "top5": {"en": "top-5", "zh": "top-5"},
    "spearman": {"en": "Spearman", "zh": "Spearman"},
    "human": {"en": "written by people", "zh": "人工撰写"},
    "human_translation": {"en": "translated by people", "zh": "人工翻译"},
    "machine": {"en": "by machine", "zh": "机器生成"},
    "mixed": {"en": "of several kinds", "zh": "混合来源"},
    "to_english": {"en": "to English", "zh": "译入英语"},
    "from_english": {"en": "from English", "zh": "译出英语"},
}
LEADING = {
    "crossmodal": ("text_to_image_recall@5", "image_to_text_recall@5"),
    "names": ("top1",),
    "sts": ("spearman",),
    "bitext": ("to_english", "from_english"),
    "topics": ("top1",),
}
TARGETS_ZH = {
    "flickr8k_test text-to-image R@5, English": "flickr8k_test 文搜图 R@5 · 英语",
    "flickr8k_test text-to-image R@5, mean of 8 others": "flickr8k_test 文搜图 R@5 · 其他 8 种语言平均",
    "flickr8k_test text-to-image R@5, worst of them": "flickr8k_test 文搜图 R@5 · 其中最低",
    "CIFAR-10 by name, top-1, English": "CIFAR-10 按名称识别 top-1 · 英语",
    "998 photos among 1,000 names, top-1, English": "998 张照片 · 1,000 个名称 · top-1 · 英语",
    "998 photos by name, top-1, mean of 40 other languages": "998 张照片按名称识别 top-1 · 其他 40 种语言平均",
    "STS-B Spearman, English": "STS-B Spearman · 英语",
    "STS-B Spearman, mean of 10 others": "STS-B Spearman · 其他 10 种语言平均",
    "flickr8k_test image-to-text R@5, English": "flickr8k_test 图搜文 R@5 · 英语",
    "xflickr243 R@5 both ways, mean of 10 languages as people wrote": "xflickr243 双向 R@5 · 10 种人工撰写语言平均",
    "COCO (473 photos) text-to-image R@5, English": "COCO（473 张）文搜图 R@5 · 英语",
    "Imagenette by name, top-1, English": "Imagenette 按名称识别 top-1 · 英语",
    "Tiny-ImageNet by name, top-1, English": "Tiny-ImageNet 按名称识别 top-1 · 英语",
    "Caltech-101 by name, top-1, English": "Caltech-101 按名称识别 top-1 · 英语",
    "five flowers by name, top-1, English": "五种花按名称识别 top-1 · 英语",
    "emoji of unseen concepts by name, R@5, mean of all languages": "训练中未出现的表情按名称 R@5 · 全部语言平均",
    "tuxpaint text-to-image R@5, mean of languages with 400 captions": "tuxpaint 文搜图 R@5 · 有 400 条描述的语言平均",
    "Tatoeba accuracy to English, mean of 74 languages": "Tatoeba 译入英语准确率 · 74 种语言平均",
    "Tatoeba, share of languages above 50%": "Tatoeba · 超过 50% 的语言占比",
    "flickr8k_test R@5, English, both ways: 96 of 384 dimensions keep": "flickr8k_test 双向 R@5 · 英语 · 前 96 维保留",
    "the same: 64 dimensions keep": "同上 · 64 维保留",
    "flickr8k_test text-to-image R@5, English, 64 dimensions": "flickr8k_test 文搜图 R@5 · 英语 · 64 维",
}


def targets_table(results: Sequence[Result], locale: TableLocale = "en") -> str:
    """One row per bar, one column per result. All results must be of one suite.

    Raises:
        ValueError: no result, results of different suites, or one that is not finished.
    """
    if not results or any(not result.finished for result in results):
        raise ValueError("expected finished results; run `babelclip evaluate` again to finish one that was cut off")
    names = [[target.name for target in result.targets] for result in results]
    if any(other != names[0] for other in names):
        raise ValueError("results of different suites have different bars and share no table")
    has_aims = any(target.aim is not None for target in results[0].targets)
    aims = [HEADINGS["aim"][locale]] if has_aims else []
    titles = [column_title(result, locale) for result in results]
    head = [HEADINGS["what"][locale], HEADINGS["at_least"][locale], *aims, *titles]
    rows = [
        [
            TARGETS_ZH[target.name] if locale == "zh" else target.name,
            figure(target.at_least, target.at_least),
            *(["-" if target.aim is None else figure(target.aim, target.at_least)] if has_aims else []),
            *(_target_cell(result, position, locale) for result in results),
        ]
        for position, target in enumerate(results[0].targets)
    ]
    return markdown(head, rows)


def languages_table(result: Result, task: str, locale: TableLocale = "en") -> str:
    """One row per language of a task, one column per metric; R@5, top-1 and Spearman with their 95% interval."""
    found = result.task(task)
    metrics = list(dict.fromkeys(score.metric for score in found.scores))
    head = [
        HEADINGS["language"][locale],
        HEADINGS["count"][locale],
        *(_metric_title(metric, locale) for metric in metrics),
    ]
    rows = []
    for language, scores in _by_language(found).items():
        rows.append([language, f"{scores[metrics[0]].count:,}", *(_score_cell(scores[metric]) for metric in metrics)])
    return markdown(head, rows)


def tasks_table(result: Result, locale: TableLocale = "en") -> str:
    """One row per task and leading metric: English, and the mean over all languages that were measured."""
    head = ["", *(HEADINGS[word][locale] for word in ("languages", "english", "mean"))]
    rows = []
    for task in result.tasks:
        for metric in LEADING[task.facts.family]:
            values = {score.language: score.value for score in whole(task.scores) if score.metric == metric}
            decimals = 3 if task.facts.family == "sts" else 1
            english = f"{values['en']:.{decimals}f}" if "en" in values else "-"
            mean = f"{sum(values.values()) / len(values):.{decimals}f}"
            title = f"{task.facts.name}: {_metric_title(metric, locale)}"
            rows.append([title, str(len(values)), english, mean])
            for writer in WRITERS:
                some = [values[lang] for lang in _languages_of(task, writer) if lang in values]
                if some and len(some) < len(values):
                    apart = f"{sum(some) / len(some):.{decimals}f}"
                    rows.append([f"{title}, {HEADINGS[writer][locale]}", str(len(some)), "", apart])
    return markdown(head, rows)


def _languages_of(task: TaskResult, writer: str) -> list[str]:
    found = task.facts.settings.get(f"captions_{writer}", [])
    return [str(language) for language in found] if isinstance(found, list) else []


def forms_table(result: Result, locale: TableLocale = "en") -> str:
    """One row per task and leading metric, one column per form: the mean over languages, and what is kept of it."""
    names = list(dict.fromkeys((score.dim, score.precision) for task in result.tasks for score in task.scores))
    rows = []
    for task in result.tasks:
        for metric in LEADING[task.facts.family]:
            means = [_mean_of(task, metric, *name) for name in names]
            decimals = 3 if task.facts.family == "sts" else 1
            cells = [f"{means[0]:.{decimals}f}"]
            cells += [f"{mean:.{decimals}f} ({100 * mean / means[0]:.0f}%)" for mean in means[1:]]
            rows.append([f"{task.facts.name}: {_metric_title(metric, locale)}", *cells])
    titles = [f"{dim or result.width} {HEADINGS['dim'][locale]} {precision}" for dim, precision in names]
    return markdown([HEADINGS["mean"][locale], *titles], rows)


def _mean_of(task: TaskResult, metric: str, dim: int | None, precision: str) -> float:
    values = [s.value for s in task.scores if (s.metric, s.dim, s.precision) == (metric, dim, precision)]
    return sum(values) / len(values)


def column_title(result: Result, locale: TableLocale = "en") -> str:
    """Model name, width and weight type of a result."""
    model = result.origin.model
    name = str(model.get("model") or model.get("name") or "model")
    dtype = [str(model["dtype"])] if "dtype" in model else []
    return ", ".join([name, f"{result.width} {HEADINGS['dim'][locale]}", *dtype])


def figure(value: float, target: float) -> str:
    """Percent with one decimal, correlations with three: a bar of 1 or less is one of a correlation."""
    return f"{value:.3f}" if target <= 1.0 else f"{value:.1f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that can be read as it is; the first column to the left, the others to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(_columns(row[column]) for row in cells)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        blanks = [" " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True)]
        padded = [row[0] + blanks[0], *(blank + cell for blank, cell in zip(blanks[1:], row[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(line(row) for row in (cells[0], rule, *cells[1:]))


def _columns(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _target_cell(result: Result, position: int, locale: TableLocale) -> str:
    target = result.targets[position]
    if target.value is None:
        return f"{HEADINGS['not_measured'][locale]} ({target.note})"
    shown = figure(target.value, target.at_least) + (f" ({target.note})" if target.note else "")
    return shown if target.met else f"{shown}, **{HEADINGS['missed'][locale]}**"


def _metric_title(metric: str, locale: TableLocale) -> str:
    way, _, cutoff = metric.partition("_recall@")
    words = HEADINGS.get(way, {"en": way, "zh": way})[locale]
    return f"{words} R@{cutoff}" if cutoff else words


def _by_language(task: TaskResult) -> dict[str, dict[str, Score]]:
    table: dict[str, dict[str, Score]] = {}
    for score in whole(task.scores):
        table.setdefault(score.language, {})[score.metric] = score
    return table


def _score_cell(score: Score) -> str:
    decimals = 3 if score.metric == "spearman" else 1
    shown = f"{score.value:.{decimals}f}"
    if not score.metric.endswith(("recall@5", "top1", "spearman", "english")):
        return shown
    return f"{shown} ({score.low:.{decimals}f} to {score.high:.{decimals}f})"
