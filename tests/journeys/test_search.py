"""The command line of search, as a person and a script use it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip.search.index import Index
from babelclip.search.known_files import row_id
from babelclip.search.thumbnail import thumbnail_folder
from babelclip.web.pictures import Pictures

ROOT = Path(__file__).parents[2]
ALBUM = ROOT / "src" / "babelclip" / "demo" / "photos"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with photos that are indexed."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(ALBUM, home / "Photos", ignore=shutil.ignore_patterns("*.json"))
    (home / "Photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    done = babelclip(home, "index", "Photos", "--json", "--errors-to", "errors.jsonl")
    assert done.returncode == 3
    row = json.loads(done.stdout)
    assert (row["embedded"], row["failed"]) == (len(list(ALBUM.glob("*.webp"))), 1)
    assert "broken.jpg" in done.stderr
    errors = [json.loads(line) for line in (home / "errors.jsonl").read_text().splitlines()]
    assert [Path(error["path"]).name for error in errors] == ["broken.jpg"]
    return home


def babelclip(home: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BABELCLIP_INDEX": str(home / "data" / "index.db")}
    command = [sys.executable, "-m", "babelclip", *arguments]
    return subprocess.run(
        command, cwd=home, env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_json_lines_best_first(home: Path) -> None:
    found = rows(babelclip(home, "search", "沙滩", "-k", "4", "--json"))
    assert [row["rank"] for row in found] == [1, 2, 3, 4]
    scores = [float(str(row["score"])) for row in found]
    assert scores == sorted(scores, reverse=True)
    for row in found:
        assert row["kind"] == "image"
        assert Path(str(row["path"])).is_file()
        assert {"width", "height"} <= row.keys()


def test_a_lone_text_is_told_the_chance_of_each_photo(home: Path) -> None:
    """What is in the album stands far above what is not; for parts that were added up no chance was ever fitted."""
    there = rows(babelclip(home, "search", "a dog", "--json"))[0]
    absent = rows(babelclip(home, "search", "invoice of a dentist", "--json"))[0]
    assert float(str(there["chance"])) > 5 * float(str(absent["chance"]))
    table = babelclip(home, "search", "a dog").stdout.splitlines()
    assert f"{float(str(there['chance'])):.0%}" in table[0]
    assert "chance" not in rows(babelclip(home, "search", "Photos/dog.webp", "--json"))[0]
    assert "chance" not in rows(babelclip(home, "search", "a dog", "-", "people", "--json"))[0]


def test_unquoted_words_and_signed_parts(home: Path) -> None:
    words = rows(babelclip(home, "search", "a", "dog", "--json"))
    quoted = rows(babelclip(home, "search", "a dog", "--json"))
    assert words == quoted
    found = rows(babelclip(home, "search", "Photos/dog.webp", "+", "snow", "-", "people", "--json", "-k", "3"))
    assert Path(str(found[0]["path"])).name == "dog.webp"


def test_paths_for_pipes(home: Path) -> None:
    lines = babelclip(home, "search", "cat", "--paths", "-k", "3").stdout.splitlines()
    nulls = babelclip(home, "search", "cat", "-0", "-k", "3").stdout.split("\0")
    assert lines == nulls[:-1]
    assert all(Path(line).is_file() for line in lines)


def test_filters(home: Path) -> None:
    inside = rows(babelclip(home, "search", "cat", "--in", "Photos", "--json", "-k", "60"))
    assert len(inside) == len(list(ALBUM.glob("*.webp")))
    for nothing in (["--in", "elsewhere"], ["--after", "2024-6"], ["--where", "camra=X"], ["--where", "kind=photo"]):
        refused = babelclip(home, "search", "cat", *nothing, "--json")
        assert (refused.returncode, refused.stdout) == (2, ""), nothing
    undated = babelclip(home, "search", "cat", "--after", "2001", "--json")
    assert "have no 'taken', so they are left out" in undated.stderr
    wide = rows(babelclip(home, "search", "cat", "--where", "width>=100", "--json"))
    assert all(int(str(row["width"])) >= 100 for row in wide)
    assert babelclip(home, "search", "cat", "--where", "width > 100").returncode == 2
    assert rows(babelclip(home, "search", "cat", "--after", "2024", "--json")) == []


def test_batch(home: Path) -> None:
    found = rows(babelclip(home, "search", "--stdin", "-k", "2", stdin="a dog\n\n一只猫\n"))
    assert [row["query"] for row in found] == ["a dog", "一只猫"]
    assert all(len(row["hits"]) == 2 for row in found)  # type: ignore[arg-type]


def test_a_query_that_cannot_be_answered_stops_no_other(home: Path) -> None:
    done = babelclip(home, "search", "--stdin", "-k", "1", stdin="a dog\nmissing.jpg\ncat + - dog\n一只猫\n")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(row) for row in found] == [
        ["hits", "query"],
        ["error", "query"],
        ["error", "query"],
        ["hits", "query"],
    ]
    assert "missing.jpg" in found[1]["error"]
    assert (done.returncode, "2 queries" in done.stderr) == (3, True)


def test_contact_sheet(home: Path) -> None:
    done = babelclip(home, "search", "a <b>dog</b>", "--html", "sheet.html", "-k", "6")
    assert done.returncode == 0
    page = (home / "sheet.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 6
    assert "a &lt;b&gt;dog&lt;/b&gt;" in page
    assert "<script" not in page


def test_a_page_of_a_document_is_explained(home: Path) -> None:
    pages = [Image.open(ALBUM / f"{name}.webp").convert("RGB") for name in ("beach", "dog")]
    pages[0].save(home / "album.pdf", save_all=True, append_images=pages[1:])
    explained = [
        rows(babelclip(home, "explain", "album.pdf", "a dog", "--page", str(page), "--out", "where.png", "--json"))
        for page in (1, 2)
    ]
    beach, dog = (float(str(found[0]["cosine"])) for found in explained)
    assert dog > beach
    assert (home / "where.png").read_bytes().startswith(b"\x89PNG")
    wrong = babelclip(home, "explain", "album.pdf", "a dog", "--page", "3")
    assert (wrong.returncode, "no page 3" in wrong.stderr) == (1, True)


def test_doubles(home: Path, tmp_path: Path) -> None:
    shutil.copy(ALBUM / "dog.webp", tmp_path / "same.webp")
    shutil.copy(ALBUM / "dog.webp", tmp_path / "again.webp")
    shutil.copy(ALBUM / "beach.webp", tmp_path / "other.webp")
    index = str(tmp_path / "index.db")
    assert babelclip(home, "index", str(tmp_path), "--index", index).returncode == 0
    groups = rows(babelclip(home, "dupes", "--index", index, "--json"))
    names = [sorted(Path(hit["path"]).name for hit in group["hits"]) for group in groups]  # type: ignore[attr-defined]
    assert names == [["again.webp", "same.webp"]]
    shown = babelclip(home, "dupes", "--index", index, "--threshold", "0.1", "--html", "sheet.html")
    assert "1 group of 3 photos" in shown.stdout
    assert (home / "sheet.html").read_text().count("data:image/webp;base64,") == 3


def test_export(home: Path, tmp_path: Path) -> None:
    lines = rows(babelclip(home, "export", "-"))
    assert len(lines) == len(list(ALBUM.glob("*.webp")))
    dog = next(line for line in lines if str(line["path"]).endswith("dog.webp"))
    embedded = rows(babelclip(home, "embed", "Photos/dog.webp"))[0]
    assert np.dot(np.array(dog["vector"]), np.array(embedded["vector"])) > 0.999
    assert len(str(dog["fingerprint"])) == 32
    done = babelclip(
        home, "export", str(tmp_path / "wide.npz"), "--where", "width>=100", "--in", "Photos", "--kind", "image"
    )
    assert done.stdout.startswith(f"{len(lines)} rows of 384 numbers each, by babelclip-small: "), done.stderr
    assert np.load(tmp_path / "wide.npz")["vectors"].shape == (len(lines), 384)
    assert rows(babelclip(home, "export", "-", "--kind", "text")) == []
    assert rows(babelclip(home, "export", "-", "--after", "2024")) == []
    assert babelclip(home, "export", "photos.csv").returncode == 2
    assert not (home / "photos.csv").exists()


def test_a_killed_export_never_looks_complete(home: Path, tmp_path: Path) -> None:
    """Each row waits for a line on stdin that never comes, so the kill meets an export that has begun."""
    script = (
        "import sys, babelclip\n"
        "from pathlib import Path\n"
        "from babelclip.search.export import export_rows\n"
        "with babelclip.Index.open(sys.argv[1], None) as index:\n"
        "    rows = index.store().rows()\n"
        "    said = lambda: print('row', flush=True) or sys.stdin.readline()\n"
        "    export_rows(rows, index.model(), Path(sys.argv[2]), said)\n"
    )
    for name in ("a.jsonl", "a.npz", "a.npy", "a.parquet"):
        out = tmp_path / name
        command = [sys.executable, "-c", script, f"sqlite:{home / 'data' / 'index.db'}", str(out)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"row\n"
            process.kill()
        assert not out.exists()
        assert not list(tmp_path.glob("a.*")), "nothing beside it has its name either"


def test_indexed_photos_are_labeled_without_embedding_them_again(home: Path) -> None:
    labels = ("--labels", "a dog,a lighthouse,zebras", "--json")
    indexed = {row["input"]: row["labels"] for row in rows(babelclip(home, "classify", "--indexed", *labels))}
    assert len(indexed) == len(list(ALBUM.glob("*.webp")))
    files = [str(home / "Photos" / f"{name}.webp") for name in ("dog", "lighthouse", "zebras")]
    for row in rows(babelclip(home, "classify", *files, *labels)):
        mine, again = row["labels"], indexed[row["input"]]
        assert mine[0]["label"] == again[0]["label"]  # type: ignore[index]
        assert abs(mine[0]["score"] - again[0]["score"]) < 2e-3  # type: ignore[index]
    assert babelclip(home, "classify", "--indexed", files[0], *labels).returncode == 2
    assert babelclip(home, "classify", *labels).returncode == 2


def test_an_index_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    done = babelclip(tmp_path, "search", "dog")
    assert done.returncode == 1
    assert "no index" in done.stderr
    assert not (tmp_path / "data").exists()


def test_forget(tmp_path: Path) -> None:
    shutil.copy(ALBUM / "dog.webp", tmp_path / "dog.webp")
    assert babelclip(tmp_path, "index", str(tmp_path)).returncode == 0
    assert (tmp_path / "data" / "index.db").is_file()
    assert babelclip(tmp_path, "forget").returncode == 2, "it does not ask a script, and does nothing unasked"
    assert babelclip(tmp_path, "forget", str(tmp_path)).stdout.startswith("1 ")
    assert babelclip(tmp_path, "forget", "--yes").returncode == 0
    assert list((tmp_path / "data").iterdir()) == []
    assert (tmp_path / "dog.webp").is_file()


def test_forgetting_an_index_leaves_the_thumbnails_of_others(tmp_path: Path) -> None:
    shutil.copy(ALBUM / "dog.webp", tmp_path / "dog.webp")
    kept = {}
    for name in ("one", "two"):
        url = f"sqlite:{tmp_path / name}.db"
        assert babelclip(tmp_path, "index", str(tmp_path), "--index", url).returncode == 0
        with Index.open(url, None) as index:
            Pictures(index).small(row_id(tmp_path / "dog.webp", 0))
            kept[name] = thumbnail_folder(index.database.url)
        assert len(list(kept[name].rglob("*.webp"))) == 1
    assert babelclip(tmp_path, "forget", "--index", f"{tmp_path / 'one.db'}", "--yes").returncode == 0
    assert not kept["one"].exists()
    assert len(list(kept["two"].rglob("*.webp"))) == 1
    assert babelclip(tmp_path, "search", "dog", "--index", f"{tmp_path / 'two.db'}").returncode == 0


def test_the_former_variable_of_two_meanings_is_refused(tmp_path: Path) -> None:
    """It must neither lead to another index in silence nor be taken for the data to train on."""
    without = {name: value for name, value in os.environ.items() if name != "BABELCLIP_INDEX"}
    environment = {**without, "BABELCLIP_DATA": str(tmp_path)}
    for command in (["search", "dog"], ["train", "nano"], ["evaluate", "--out", "result.json"]):
        done = subprocess.run(
            [sys.executable, "-m", "babelclip", *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2, command
        assert f"BABELCLIP_INDEX={tmp_path / 'index.db'} for the index" in done.stderr
        assert f"BABELCLIP_DATASETS={tmp_path} for data" in done.stderr
