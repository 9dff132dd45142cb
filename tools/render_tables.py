"""Put the tables of result files into Markdown documents, between two marks.

    <!-- table: targets | benchmarks/results/small.json -->
    <!-- /table -->

Kinds: ``targets`` (several result files, by commas, become columns), ``tasks``, ``forms`` and ``languages:TASK``;
``training``, ``memory``, ``finetune``, ``serving``, ``three_lines``, ``search``, and ``chances`` and ``mixed``, for the
files of benchmarks/nano.py, training_memory.py, finetune.py, serving.py, three_lines.py, search.py and
score_calibration.py.
A third field ``zh`` gives Chinese headings. Paths are relative to the project's root.

    python tools/render_tables.py            rewrite the tables of all documents
    python tools/render_tables.py --check    change nothing; exit 1 and name the documents that are not current
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

from babelclip.checkpoint.checksums import CHECKSUMS, write_checksums
from babelclip.errors import DatasetError
from babelclip.evaluate.results import read_result
from babelclip.evaluate.tables import TableLocale, forms_table, languages_table, markdown, targets_table, tasks_table

BLOCK = re.compile(r"(?P<open><!-- table: (?P<spec>[^\n]*?) -->\n)(?P<body>.*?)(?P<close><!-- /table -->)", re.DOTALL)
MARKS = re.compile(r"^<!-- (?:table: .*|/table) -->$", re.MULTILINE)


def documents(root: Path) -> list[Path]:
    """Markdown files that may hold tables, the card of the bundled model among them."""
    homes = (root / "docs", root / "benchmarks", root / "packages")
    return sorted([*root.glob("*.md"), *(file for home in homes for file in home.rglob("*.md"))])


def render(text: str, root: Path) -> str:
    """The document with every marked table made anew.

    Raises:
        DatasetError: a mark that is not understood or not closed, or a result file that cannot be read.
    """
    marks = len(MARKS.findall(text))
    rendered, blocks = BLOCK.subn(lambda block: f"{block['open']}{table(block['spec'], root)}\n{block['close']}", text)
    if marks != 2 * blocks:
        raise DatasetError(f"{marks} table marks make {blocks} blocks; every table mark needs its <!-- /table --> mark")
    return rendered


def table(spec: str, root: Path) -> str:
    """The table that a mark asks for: ``kind | files [| tongue]``."""
    fields = [field.strip() for field in spec.split("|")]
    if len(fields) not in (2, 3) or (len(fields) == 3 and fields[2] not in get_args(TableLocale)):
        raise DatasetError(f"expected 'kind | file.json[, file.json] [| zh]', found {spec!r}")
    kind, _, task = fields[0].partition(":")
    locale = cast(TableLocale, fields[2]) if len(fields) == 3 else "en"
    if kind in BENCHMARKS:
        return BENCHMARKS[kind](json.loads((root / fields[1]).read_text(encoding="utf-8")), locale)
    results = [read_result(root / name.strip()) for name in fields[1].split(",")]
    if kind == "targets" and not task:
        return targets_table(results, locale)
    if kind == "tasks" and not task and len(results) == 1:
        return tasks_table(results[0], locale)
    if kind == "forms" and not task and len(results) == 1:
        return forms_table(results[0], locale)
    if kind == "languages" and task and len(results) == 1:
        return languages_table(results[0], task, locale)
    raise DatasetError(f"expected bars (any number of files), tasks or languages:TASK (one file), found {spec!r}")


TRAINING_HEADINGS = {
    "en": ("held-out pictures", "before", "after {:.1f} minutes"),
    "zh": ("留出的图片", "训练前", "{:.1f} 分钟后"),
}


def training_table(content: dict[str, Any], locale: TableLocale) -> str:
    """Held-out images before and after a run, and how long it took."""
    rows = [
        [name.replace("_", " ").replace(" recall@", " R@"), *(f"{row[key]:.1f}" for key in ("before", "after"))]
        for name, row in content["held_out"].items()
    ]
    return markdown([heading.format(content["seconds"] / 60) for heading in TRAINING_HEADINGS[locale]], rows)


def memory_table(content: dict[str, Any], _: TableLocale) -> str:
    """Peak memory of a step by batch and piece."""
    rows = [
        [f"{case['batch']:,}" if case["batch"] else "none", str(case["piece"] or "-"), f"{case['gib']:.2f}"]
        for case in content["cases"]
    ]
    return markdown(["batch", "piece", "peak memory, GiB"], rows)


def finetune_table(content: dict[str, Any], _: TableLocale) -> str:
    """R@5 of held-out pictures before and after fine-tuning, seed by seed, and what became of another set."""
    known = content["flickr8k_before"]
    ways = {"text_to_image_recall@5": "text to image", "image_to_text_recall@5": "image to text"}
    rows = []
    for run in content["runs"]:
        for metric, way in ways.items():
            held = run["held_out"][metric]
            gain = f"{held['difference']:+.1f} ({held['low']:+.1f} to {held['high']:+.1f})"
            other = f"{run['flickr8k'][metric] - known[metric]:+.1f}"
            rows.append([str(run["seed"]), way, f"{held['before']:.1f}", f"{held['after']:.1f}", gain, other])
    return markdown(["seed", "R@5", "before", "after", "difference (95%)", "Flickr8k, difference"], rows)


def serving_table(content: dict[str, Any], _: TableLocale) -> str:
    """The server under load, and beside the library."""
    load, beside = content["load"], content["overhead"]
    clients = f"{load['clients']} clients, texts and photos mixed, {load['minutes']:g} minutes"
    rows = [
        [f"{clients}: items a second", f"{load['items_per_second']:.0f}"],
        [
            "latency of these requests, median / 95% / 99%, ms",
            f"{load['p50_ms']:.0f} / {load['p95_ms']:.0f} / {load['p99_ms']:.0f}",
        ],
        ["vectors that were not the library's", str(load["wrong_vectors"])],
        ["growth of memory", f"{load['memory_growth_percent']:.1f}%"],
        [
            f"{beside['clients']} clients, a short text a request: texts a second",
            f"{beside['http_texts_per_second']:.0f}",
        ],
        ["of the library's own rate in the same run", f"{100 * beside['http_over_library']:.0f}%"],
        ["a lone request / the library alone, ms", f"{beside['lone_http_ms']:.1f} / {beside['lone_library_ms']:.1f}"],
    ]
    return markdown([f"{content['model']}, {content['machine']['usable_cores']} cores", "measured"], rows)


THREE_LINES_WORDS = {
    "en": (
        "line",
        "seconds, {cores} cores",
        "clone from a local disk, and set-up: {packages} packages fetched",
        "index {photos} photos of {size} megapixels",
        "search, loading the model included",
    ),
    "zh": (
        "命令",
        "秒（{cores} 核）",
        "从本地磁盘克隆并安装：下载 {packages} 个软件包",
        "索引 {photos} 张 {size} 百万像素的照片",
        "搜索，含加载模型",
    ),
}


def three_lines_table(content: dict[str, Any], locale: TableLocale) -> str:
    """The time of each of the README's three lines."""
    facts = {
        "cores": content["machine"]["usable_cores"],
        "packages": content["packages"],
        "photos": content["photos"],
        "size": content["megapixels_each"],
    }
    first, second, *lines = (words.format(**facts) for words in THREE_LINES_WORDS[locale])
    seconds = (content[f"{name}_seconds"] for name in ("set_up", "index", "search"))
    return markdown([first, second], [[line, f"{taken:.1f}"] for line, taken in zip(lines, seconds, strict=True)])


def search_table(content: dict[str, Any], _: TableLocale) -> str:
    """Figures of search; parts that were not measured yet are left out."""
    rows: list[list[str]] = []
    if rate := content.get("rate"):
        rows += [
            ["indexing JPEGs of 1 megapixel, photos a second", f"{rate['indexed_per_second']:.0f}"],
            ["of the bare encoder's rate in the same run", f"{100 * rate['index_over_bare']:.0f}%"],
        ]
    if million := content.get("million"):
        times = million["query_milliseconds"]
        what = f"{million['rows']:,} rows of {million['dim']}"
        memory = million["memory_megabytes"] - million["memory_before_megabytes"]
        rows += [
            [f"{what}: a text encoded and answered, median / 99%, ms", f"{times['p50']:.0f} / {times['p99']:.0f}"],
            [f"{what}: disk / more memory, MB", f"{million['disk_megabytes']:,} / {memory:,}"],
        ]
    if recall := content.get("recall"):
        for way, asked in (
            ("sentences_to_sentences", f"a sentence's among {recall['sentences']:,} sentences"),
            ("sentences_to_photos", f"a sentence's among {recall['photos']:,} photos"),
            ("queries_to_photos", f"a query's among {recall['photos']:,} photos"),
        ):
            rows.append([f"of the ten nearest that comparing all finds, {asked}", f"{100 * recall[way]:.2f}%"])
    if page := content.get("page"):
        typed = page["milliseconds"]["typed_fast"]["first_result"]
        what = f"page with {page['rows']:,} photos: last key to first result, median / 95%, ms"
        rows.append([what, f"{typed['p50']:.0f} / {typed['p95']:.0f}"])
    return markdown(["", f"measured, {content['million']['machine']['usable_cores']} cores"], rows)


def chances_table(content: dict[str, Any], _: TableLocale) -> str:
    """Chances that were told, and how many of them came true, for pairs told ten percent or more."""
    rows = []
    for name, bins in content["chances"].items():
        told = [f"{100 * row['told']:.0f}% / {100 * row['true']:.0f}%" for row in bins if row["told"] >= 0.1]
        rows.append([name, *told, *[""] * (4 - len(told))])
    return markdown(["told / came true", "10 to 30%", "30 to 50%", "50 to 70%", "above 70%"], rows)


def mixed_table(content: dict[str, Any], _: TableLocale) -> str:
    """What photos and texts that are found together can be ranked by."""
    sizes = list(dict.fromkeys((row["photos"], row["texts"]) for row in content["mixed"]))
    found = {(row["ranked_by"], row["photos"], row["texts"]): row for row in content["mixed"]}
    rows = [
        [name, *(f"{found[name, *size]['photo']:.0f}% / {found[name, *size]['text']:.0f}%" for size in sizes)]
        for name in dict.fromkeys(row["ranked_by"] for row in content["mixed"])
    ]
    return markdown(["ranked by", *(f"{photos} photos, {texts} texts" for photos, texts in sizes)], rows)


def where_table(content: dict[str, Any], _: TableLocale) -> str:
    """How well the place of a photo among others is found, by what is done to find it."""
    names = {"covers": "covers alone", "parts": "parts alone", "both": "both"}
    told = {"warmest": "warmest cell", "share": "of the warmth", "warmer": "warmer than beside"}
    columns = [(kind, figure) for kind in ("mosaic", "scene") for figure in told]
    rows = [
        [name, *(f"{100 * content[kind][key][figure]:.0f}%" for kind, figure in columns)] for key, name in names.items()
    ]
    return markdown(["", *(f"{kind}: {told[figure]}" for kind, figure in columns)], rows)


BENCHMARKS: dict[str, Callable[[dict[str, Any], TableLocale], str]] = {
    "training": training_table,
    "memory": memory_table,
    "finetune": finetune_table,
    "serving": serving_table,
    "three_lines": three_lines_table,
    "search": search_table,
    "chances": chances_table,
    "mixed": mixed_table,
    "where": where_table,
}
"""Kind of a table of a benchmark's own file -> what makes it."""


def main(arguments: list[str] | None = None) -> int:
    """Rewrite or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 when a table is not current")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the project's root")
    options = parser.parse_args(arguments)
    stale = []
    for document in documents(options.root):
        text = document.read_text(encoding="utf-8")
        try:
            rendered = render(text, options.root)
        except (DatasetError, ValueError) as error:
            print(f"{document.relative_to(options.root)}: {error}", file=sys.stderr)
            return 1
        if rendered == text:
            continue
        stale.append(document.relative_to(options.root))
        if not options.check:
            document.write_text(rendered, encoding="utf-8")
            if (document.parent / CHECKSUMS).is_file():  # a model's card is under its folder's checksums
                write_checksums(document.parent)
    for name in stale:
        print(f"{name}: {'tables are not current; run tools/render_tables.py' if options.check else 'written'}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
