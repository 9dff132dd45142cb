"""How fast and how right search is here.

Indexing against the bare encoder, a million rows, recall on what is real, and how soon the page shows a result:

    python benchmarks/search.py rate                           indexing 1-megapixel JPEGs, beside the bare encoder
    python benchmarks/search.py million                        a million rows: filling, memory, disk, a query's time
    python benchmarks/search.py recall --data DATA --work DIR  recall@10 against comparing all, sentences and photos
    python benchmarks/search.py page --data DATA               the page in Chromium over 50,000 photos: from the
                                                               last key to the first result and to its thumbnail

Results go to benchmarks/results/search.json, each part dated. The million is resampled from real vectors with noise: it
measures time and memory, not recall. Vectors of `recall` are kept in DIR, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image

import babelclip
from babelclip.demo.album import read_album
from babelclip.encoder import Encoder
from babelclip.evaluate.results import describe_origin, now
from babelclip.search.filters import Eq
from babelclip.search.index import Index
from babelclip.search.open_store import open_database
from babelclip.search.store import Row, VectorStore
from babelclip.vectors import finish
from search_page import find_chromium, measure_page

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "search.json"
ROUNDS = 3
PHOTOS = 200
MILLION = 1_000_000
QUERIES = 200
STEP = 5000


def megapixel_photos(folder: Path, count: int) -> list[Path]:
    """The demo's photos as JPEGs of 1152 x 864 pixels, each cut and turned a little differently."""
    originals = [Image.open(photo.path).convert("RGB") for photo in read_album().photos]
    paths = []
    for number in range(count):
        image = originals[number % len(originals)]
        margin = number // len(originals)
        width, height = image.size
        part = image.crop((margin, margin, width - margin, height - margin))
        paths.append(folder / f"{number:04}.jpg")
        part.resize((1152, 864), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def measure_rate(encoder: Encoder) -> dict[str, Any]:
    """Photos a second: the bare encoder and a new index, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        paths = megapixel_photos(folder, PHOTOS)
        upright = encoder.upright()
        bare, indexed = [], []
        for number in range(ROUNDS):
            start = time.perf_counter()
            upright.encode_image(paths)
            bare.append(PHOTOS / (time.perf_counter() - start))
            with Index.open(f"sqlite:{name}/{number}.db", encoder, create=True) as index:
                start = time.perf_counter()
                index.add([folder])
                indexed.append(PHOTOS / (time.perf_counter() - start))
    ratio = statistics.median(mine / other for mine, other in zip(indexed, bare, strict=True))
    return {
        "photos": PHOTOS,
        "pixels": 1152 * 864,
        "bare_per_second": round(statistics.median(bare), 2),
        "indexed_per_second": round(statistics.median(indexed), 2),
        "index_over_bare": round(ratio, 3),
    }


def measure_million(encoder: Encoder) -> dict[str, Any]:
    """Times of a store of a million rows."""
    generator = np.random.default_rng(0)
    real = encoder.encode_image([photo.path for photo in read_album().photos])
    spread = real.std(axis=0)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "index.db"
        database = open_database(f"sqlite:{path}", create=True)
        store = database.create("1", encoder.dim)
        start = time.perf_counter()
        for first in range(0, MILLION, STEP):
            chosen = real[generator.integers(0, len(real), STEP)]
            vectors = finish(chosen + generator.normal(0, 1, chosen.shape).astype(np.float32) * spread)
            store.upsert([_row(first + place, vector) for place, vector in enumerate(vectors)])
        filled = time.perf_counter() - start
        database.close()
        database = open_database(f"sqlite:{path}")
        store = database.open("1")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        store.query(real[0], 10)
        first_query = time.perf_counter() - start
        times = _query_times(encoder, store)
        disk = sum(file.stat().st_size for file in Path(name).iterdir())
        database.close()
    return {
        "rows": MILLION,
        "dim": encoder.dim,
        "fill_seconds": round(filled, 1),
        "first_query_seconds": round(first_query, 2),
        "query_milliseconds": times,
        "disk_megabytes": round(disk / 1e6),
        "memory_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "memory_before_megabytes": round(before / 1e3),
    }


def _row(number: int, vector: np.ndarray) -> Row:
    return Row(f"{number:032x}", "image", vector, {"path": f"/photos/{number % 1000}/{number}.jpg", "size": number})


def _query_times(encoder: Encoder, store: VectorStore) -> dict[str, float]:
    """Of a text query, encoded and answered."""
    texts = [query.text for query in read_album().queries]
    times = []
    for number in range(QUERIES):
        start = time.perf_counter()
        store.query(encoder.encode_text(f"{texts[number % len(texts)]} {number}"), 10, Eq("kind", "image"))
        times.append(1000 * (time.perf_counter() - start))
    return {name: round(float(np.percentile(times, part)), 1) for name, part in (("p50", 50), ("p95", 95), ("p99", 99))}


def measure_recall(encoder: Encoder, data: Path, work: Path) -> dict[str, Any]:
    """Share of the ten nearest, by comparing all, that a query finds among sentences and among photos."""
    work /= str(encoder.facts()["fingerprint"])  # vectors of other weights are never mixed in
    work.mkdir(parents=True, exist_ok=True)
    sentences = parquet.read_table(data / "text" / "parallel.parquet", columns=["text"])["text"].to_pylist()
    sentence_vectors = kept_vectors(work / "sentences", encoder.encode_text, iter(sentences), len(sentences))
    photo_vectors = kept_vectors(work / "photos", encoder.encode_image, photos_of(data / "train"), None)
    queries = encoder.encode_text([query.text for query in read_album().queries])
    generator = np.random.default_rng(0)
    asked = sentence_vectors[generator.choice(len(sentence_vectors), 300, replace=False)]
    with tempfile.TemporaryDirectory() as name:
        database = open_database(f"sqlite:{name}/index.db", create=True)
        store = database.create("1", encoder.dim)
        for kind, vectors in (("text", sentence_vectors), ("image", photo_vectors)):
            for first in range(0, len(vectors), STEP):
                part = vectors[first : first + STEP]
                store.upsert([Row(f"{kind}{first + i}", kind, vector, {}) for i, vector in enumerate(part)])
        results = {
            "sentences": len(sentence_vectors),
            "photos": len(photo_vectors),
            "sentences_to_sentences": _recall(store, "text", sentence_vectors, asked),
            "sentences_to_photos": _recall(store, "image", photo_vectors, asked),
            "queries_to_photos": _recall(store, "image", photo_vectors, queries),
        }
        database.close()
    return results


def _recall(store: VectorStore, kind: str, vectors: np.ndarray, queries: np.ndarray) -> float:
    halves = vectors.astype(np.float16).astype(np.float32)  # as they are stored: ties are no misses
    found = []
    for query in queries:
        scores = halves @ query
        tenth = np.partition(scores, -10)[-10]
        found.append(sum(hit.score >= tenth - 1e-6 for hit in store.query(query, 10, Eq("kind", kind))) / 10)
    return round(float(np.mean(found)), 4)


def kept_vectors(folder: Path, encode: Any, items: Iterator[Any], total: int | None) -> np.ndarray:
    """Vectors of items, in parts of a file each; parts that are there are not made again."""
    folder.mkdir(exist_ok=True)
    parts = []
    number = 0
    while True:
        chunk = [item for _, item in zip(range(STEP), items, strict=False)]
        if not chunk:
            return np.concatenate(parts)
        file = folder / f"{number:05}.npy"
        if not file.is_file():
            np.save(file, encode(chunk))
            print(f"{folder.name}: {number * STEP + len(chunk):,} of {total or '?'}", flush=True)
        parts.append(np.load(file))
        number += 1


def photos_of(folder: Path) -> Iterator[bytes]:
    """The files of all training photos, pack by pack."""
    for pack in sorted(folder.glob("*.tar*")):
        with tarfile.open(pack) as archive:
            for member in archive:
                if member.name.lower().endswith((".jpg", ".jpeg", ".png", ".webp")):
                    file = archive.extractfile(member)
                    assert file is not None
                    yield file.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("rate", "million", "recall", "page"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    encoder = babelclip.load()
    if options.part == "recall":
        if options.data is None or options.work is None or not options.data.is_dir():
            parser.error("recall needs --data, the folder of training data, and --work, a folder to keep vectors in")
        measured = measure_recall(encoder, options.data, options.work)
    elif options.part == "page":
        chromium = find_chromium()
        if options.data is None or not options.data.is_dir() or chromium is None:
            parser.error("page needs --data, the folder of training data, and Chromium: apt-get install chromium")
        measured = measure_page(encoder, photos_of(options.data / "train"), chromium)
    else:
        measured = (measure_rate if options.part == "rate" else measure_million)(encoder)
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    origin = describe_origin(encoder.facts(), None, "", 0)
    described = {"date": now(), "commit": origin.commit, "machine": origin.machine, "model": encoder.facts()}
    results[options.part] = measured | described
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
