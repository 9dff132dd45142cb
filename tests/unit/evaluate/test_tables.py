"""Tables from results, and documents kept current by the tool."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from babelclip.checkpoint.checksums import write_checksums, wrong_checksums
from babelclip.errors import DatasetError
from babelclip.evaluate.results import Origin, Result, TaskResult, write_result
from babelclip.evaluate.suites import SMALL_TARGETS
from babelclip.evaluate.tables import TARGETS_ZH, forms_table, languages_table, markdown, targets_table, tasks_table
from babelclip.evaluate.targets import TargetResult
from babelclip.evaluate.task import Score, TaskFacts

ROOT = Path(__file__).parents[3]

RESULT = Result(
    origin=Origin({"model": "tiny", "dtype": "int8"}, None, "small", 0, "0.1.0", None, "0", {}),
    date="2026-11-24T00:00:00+00:00",
    finished=True,
    width=384,
    tasks=(
        TaskResult(
            TaskFacts("stsb", "sts", ()),
            1.0,
            (
                Score("en", "spearman", 0.7456, 1379, 0.701, 0.789),
                Score("zh", "spearman", 0.6, 1200, 0.5, 0.7),
            ),
        ),
    ),
    targets=(
        TargetResult("STS-B Spearman, English", 0.72, 0.7456, True),
        TargetResult("flickr8k_test text-to-image R@5, worst of them", 22.0, 0.5, False, "uk"),
        TargetResult("STS-B Spearman, mean of 10 others", 0.65, None, False, "1 other languages, not 10"),
    ),
)


def test_bars_table() -> None:
    lines = targets_table([RESULT, replace(RESULT, width=64)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["what", "at least", "tiny, 384 dim, int8", "tiny, 64 dim, int8"]
    assert [set(cell) for cell in cells[1]] == [{"-"}, {"-", ":"}, {"-", ":"}, {"-", ":"}]
    assert cells[2:] == [
        ["STS-B Spearman, English", "0.720", "0.746", "0.746"],
        ["flickr8k_test text-to-image R@5, worst of them", "22.0", *["0.5 (uk), **missed**"] * 2],
        ["STS-B Spearman, mean of 10 others", "0.650", *["not measured (1 other languages, not 10)"] * 2],
    ]


def test_bars_table_shows_aims_where_there_are_some() -> None:
    targets = (replace(RESULT.targets[0], aim=0.84), *RESULT.targets[1:])
    lines = targets_table([replace(RESULT, targets=targets)]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[2] for row in cells] == ["aim", cells[1][2], "0.840", "-", "-"]


def test_forms_table() -> None:
    task = RESULT.tasks[0]
    cut = [replace(score, value=score.value / 2, dim=64, precision="int8") for score in task.scores]
    lines = forms_table(replace(RESULT, tasks=(replace(task, scores=(*task.scores, *cut)),))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["mean of all", "384 dim float32", "64 dim int8"]
    assert cells[2] == ["stsb: Spearman", "0.673", "0.336 (50%)"]


def test_results_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="finished"):
        targets_table([replace(RESULT, finished=False)])
    with pytest.raises(ValueError, match="different suites"):
        targets_table([RESULT, replace(RESULT, targets=RESULT.targets[:1])])


def test_languages_and_tasks() -> None:
    assert languages_table(RESULT, "stsb").splitlines()[2:] == [
        "| en       |   1,379 | 0.746 (0.701 to 0.789) |",
        "| zh       |   1,200 | 0.600 (0.500 to 0.700) |",
    ]
    assert tasks_table(RESULT).splitlines()[-1] == "| stsb: Spearman |         2 |   0.746 |       0.673 |"
    with pytest.raises(DatasetError, match="'absent'"):
        languages_table(RESULT, "absent")


def test_chinese_has_every_bar_and_lines_up() -> None:
    assert TARGETS_ZH.keys() == {target.name for target in SMALL_TARGETS}
    assert "未达标" in targets_table([RESULT], "zh")
    assert markdown(["语言", "b"], [["en", "1"]]).splitlines() == ["| 语言 |   b |", "| ---- | --: |", "| en   |   1 |"]


def test_a_pipe_in_a_cell_does_not_open_a_column() -> None:
    assert markdown(["a|b"], []).splitlines()[0] == "| a\\|b |"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return open_tool("render_tables")


def open_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_rewrites_marked_blocks_only(tmp_path: Path, tool: ModuleType, capsys) -> None:
    write_result(RESULT, tmp_path / "r.json")
    document = tmp_path / "docs" / "page.md"
    document.parent.mkdir()
    document.write_text(
        "before\n<!-- table: targets | r.json | zh -->\nstale\n<!-- /table -->\nafter\n", encoding="utf-8"
    )
    assert tool.main(["--root", str(tmp_path), "--check"]) == 1
    assert "page.md" in capsys.readouterr().out
    assert "stale" in document.read_text(encoding="utf-8")
    assert tool.main(["--root", str(tmp_path)]) == 0
    expected = (
        f"before\n<!-- table: targets | r.json | zh -->\n{targets_table([RESULT], 'zh')}\n<!-- /table -->\nafter\n"
    )
    assert document.read_text(encoding="utf-8") == expected
    assert tool.main(["--root", str(tmp_path), "--check"]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "<!-- table: targets | absent.json -->\n<!-- /table -->",
        "<!-- table: bars -->\n<!-- /table -->",
        "<!-- table: charts | r.json -->\n<!-- /table -->",
        "<!-- table: languages:absent | r.json -->\n<!-- /table -->",
        "<!-- table: targets | r.json | xx -->\n<!-- /table -->",
        "<!-- table: targets | r.json -->\nnever closed",
        "<!-- table: targets | r.json -->\n<!-- table: tasks | r.json -->\n<!-- /table -->",
    ],
)
def test_the_tool_refuses_marks_that_it_does_not_understand(
    tmp_path: Path, tool: ModuleType, text: str, capsys
) -> None:
    write_result(RESULT, tmp_path / "r.json")
    (tmp_path / "page.md").write_text(text + "\n", encoding="utf-8")
    assert tool.main(["--root", str(tmp_path)]) == 1
    assert "page.md" in capsys.readouterr().err
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == text + "\n"


def test_the_tables_of_this_project_are_current(tool: ModuleType) -> None:
    assert tool.main(["--check"]) == 0


def test_a_shipped_card_has_its_tables_before_its_limits_once() -> None:
    ship = open_tool("ship_model")
    card = ship.with_results("# m\n\n## Limits\n\n- none\n")
    assert card.index("<!-- table: targets | benchmarks/results/small.json -->") < card.index("## Limits")
    with pytest.raises(ValueError, match="without results"):
        ship.with_results(card)


def test_a_card_that_changes_keeps_its_checksums_true(tmp_path: Path, tool: ModuleType) -> None:
    write_result(RESULT, tmp_path / "r.json")
    folder = tmp_path / "packages" / "m"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("<!-- table: targets | r.json -->\n<!-- /table -->\n", encoding="utf-8")
    (folder / "text.onnx").write_bytes(b"made anew at any time")
    write_checksums(folder)
    before = (folder / "checksums.json").read_text()
    assert tool.main(["--root", str(tmp_path)]) == 0
    assert (folder / "checksums.json").read_text() != before
    assert wrong_checksums(folder) == []
    assert "text.onnx" not in before
