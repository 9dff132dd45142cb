"""Two versions of babelclip on this machine, in turns: embedding, searching and answering, as ratios of one run.

    git worktree add /tmp/before COMMIT
    python benchmarks/compare_versions.py /tmp/before [--rounds 7] [--rows 60000] [--out FILE]

Each round asks the other version and this one, in new processes and in alternating order. Figures are processor time,
all threads and children together, which other work on the machine disturbs least; a figure's ratio is that of medians.
"first" is the first of its kind in a process, "later" the mean of those after it. Requests go to one server of each
version; their figure is the waiting time of a lone client, in turns as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from babelclip.demo.album import read_album
from babelclip.evaluate.results import describe_origin, now
from babelclip.serve.listening import listening

ROOT = Path(__file__).resolve().parents[1]
MODEL = "babelclip-small"
FILL = """
import sys, numpy as np
from babelclip.search.open_store import open_database
from babelclip.search.store import Row
path, number = sys.argv[1], int(sys.argv[2])
generator = np.random.default_rng(0)
database = open_database("sqlite:" + path, create=True)
store = database.create("1", 384)
for first in range(0, number, 5000):
    vectors = generator.normal(size=(5000, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.upsert([Row(f"{first + place:032x}", "image", vector, {"path": f"/photos/{(first + place) % 1000}/"
        f"{first + place}.jpg", "size": first + place, "width": 4000, "height": 3000, "taken": "2021-05-06T07:08:09"})
        for place, vector in enumerate(vectors)])
database.close()
"""
SEARCH = """
import json, sys, time, numpy as np
from babelclip.search.filters import Range
from babelclip.search.open_store import open_database
clock, found = time.process_time, {}
generator = np.random.default_rng(1)
queries = generator.normal(size=(60, 384)).astype(np.float32)
queries /= np.linalg.norm(queries, axis=1, keepdims=True)
store = open_database("sqlite:" + sys.argv[1]).open("1")
def timed(name, asked, where=None):
    start = clock()
    for query in asked:
        store.query(query, 10, where)
    found[name] = 1000 * (clock() - start) / len(asked)
timed("search, first", queries[:1])
timed("search, later", queries[1:])
timed("filtered search, first", queries[:1], Range("size", low=100))
timed("filtered search, later", queries[1:], Range("size", low=100))
print(json.dumps(found))
"""
EMBED = """
import json, sys, time
clock, found = time.process_time, {}
import babelclip
photos = sys.argv[1:]
start = clock()
encoder = babelclip.load()
encoder.encode_text("a dog")
found["load and one text"] = 1000 * (clock() - start)
start = clock()
encoder.encode_image(photos[:1])
found["first image"] = 1000 * (clock() - start)
start = clock()
encoder.encode_text([f"a photo of {number} dogs on a beach" for number in range(256)])
found["256 texts"] = 1000 * (clock() - start)
start = clock()
encoder.encode_image(photos)
found["photos"] = 1000 * (clock() - start)
print(json.dumps(found))
"""
REQUESTS = {
    "request: a word": {"model": MODEL, "input": ["dog"]},
    "request: 32 texts": {"model": MODEL, "input": [f"a photo of {number} dogs" for number in range(32)]},
}


def run(tree: Path, code: str, *arguments: str) -> str:
    """What a version prints."""
    environment = os.environ | {"PYTHONPATH": path_of(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def path_of(tree: Path) -> str:
    return os.pathsep.join([str(tree / "src"), str(tree / "packages" / "babelclip-small" / "src")])


@contextmanager
def server(tree: Path) -> Iterator[httpx.Client]:
    """A client of a server of a version."""
    with listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": path_of(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "babelclip", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            until = time.monotonic() + 60
            while True:
                try:
                    client.post("/v1/embeddings", json=REQUESTS["request: a word"]).raise_for_status()
                    break
                except httpx.HTTPError:
                    if time.monotonic() > until or process.poll() is not None:
                        raise
                    time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def measure_requests(trees: dict[str, Path], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds a lone client waits, by version."""
    found: dict[str, dict[str, list[float]]] = {which: {name: [] for name in REQUESTS} for which in trees}
    with server(trees["before"]) as before, server(trees["after"]) as after:
        for number in range(40 * rounds):
            order = [("before", before), ("after", after)]
            for which, client in order[:: 1 if number % 2 else -1]:
                for name, body in REQUESTS.items():
                    start = time.perf_counter()
                    client.post("/v1/embeddings", json=body).raise_for_status()
                    found[which][name].append(1000 * (time.perf_counter() - start))
    return found


def measure_processes(trees: dict[str, Path], rounds: int, rows: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of processor time, by version."""
    found: dict[str, dict[str, list[float]]] = {which: {} for which in trees}
    photos = [str(photo.path) for photo in read_album().photos]
    with tempfile.TemporaryDirectory() as folder:
        for which, tree in trees.items():
            run(tree, FILL, f"{folder}/{which}.db", str(rows))
        for number in range(rounds):
            for which in list(trees)[:: 1 if number % 2 else -1]:
                told = run(trees[which], SEARCH, f"{folder}/{which}.db"), run(trees[which], EMBED, *photos)
                for line in told:
                    for name, value in json.loads(line).items():
                        found[which].setdefault(name, []).append(value)
    return found


def compare(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Medians of both versions, and their ratio."""
    figures = {}
    for name in found["before"]:
        before, after = (statistics.median(found[which][name]) for which in ("before", "after"))
        figures[name] = {"before_ms": round(before, 2), "after_ms": round(after, 2), "ratio": round(after / before, 3)}
        print(f"{name:26} {before:9.2f} {after:9.2f} {after / before:6.3f}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    trees = {"before": arguments.before.resolve(), "after": ROOT}
    figures = compare(measure_processes(trees, arguments.rounds, arguments.rows))
    figures |= compare(measure_requests(trees, arguments.rounds))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=trees["before"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    if arguments.out:
        origin = describe_origin({}, None, "", 0)
        result = {"date": now(), "before": commit, "rows": arguments.rows, "rounds": arguments.rounds}
        result |= {"figures": figures, "commit": origin.commit, "machine": origin.machine}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
