"""How fast a model runs here: images with decoding, short texts, a single query; each runtime in turn, as a ratio.

    python benchmarks/speed.py [--model FOLDER] [--rounds 5] [--out benchmarks/results/speed.json]

The runtimes take turns round by round, so that a machine whose speed drifts spoils no ratio; medians are reported.
Images are the demo's photos (500 x 500 WebP or smaller), texts its queries in twenty languages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import babelclip
from babelclip.demo.album import read_album
from babelclip.evaluate.results import describe_origin, now

ROOT = Path(__file__).resolve().parents[1]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(encoders: dict[str, babelclip.Encoder], rounds: int) -> dict[str, dict[str, float]]:
    """Runtime -> median rates: images and texts per second, milliseconds of a lone query."""
    album = read_album()
    images = [photo.path for photo in album.photos] * 2
    texts = [query.text for query in album.queries] * 16
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in encoders}
    for encoder in encoders.values():  # a first call opens sessions and fills caches
        encoder.encode_image(images[:9])
        encoder.encode_text(texts[:40])
    for _ in range(rounds):
        for name, encoder in encoders.items():
            found = figures[name]
            found.setdefault("images_per_second", []).append(
                len(images) / seconds(lambda e=encoder: e.encode_image(images))
            )
            found.setdefault("texts_per_second", []).append(
                len(texts) / seconds(lambda e=encoder: e.encode_text(texts))
            )
            alone = [seconds(lambda e=encoder, t=text: e.encode_text(t)) for text in texts[:20]]
            found.setdefault("query_milliseconds", []).append(1000 * statistics.median(alone))
    return {name: {key: round(statistics.median(v), 2) for key, v in found.items()} for name, found in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub name; the bundled model otherwise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "speed.json")
    options = parser.parse_args()
    loading = seconds(lambda: babelclip.load(options.model, runtime="onnx").encode_text("warm"))
    encoders = {name: babelclip.load(options.model, runtime=name) for name in ("onnx", "torch")}
    figures = measure(encoders, options.rounds)
    origin = describe_origin(encoders["onnx"].facts(), None, "speed", 0)
    result: dict[str, Any] = {
        "machine": origin.machine,
        "date": now(),
        "commit": origin.commit,
        "model": encoders["onnx"].name,
        "rounds": options.rounds,
        "load_to_first_vector_seconds": round(loading, 2),
        "runtimes": figures,
        "onnx_over_torch": {
            key: round(figures["onnx"][key] / figures["torch"][key], 2)
            for key in ("images_per_second", "texts_per_second")
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
