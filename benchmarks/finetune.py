"""Fine-tuning as a new user does it: 300 captioned pictures, 100 of them held out, three seeds.

    python benchmarks/finetune.py --data DATA [--out benchmarks/results/finetune.json]

The pictures are the first 300 of the Tux Paint stamps (drawings and photos, captions in many languages), the recipe is
finetune-lora with every third picture held out. What was learned must not cost what was known: retrieval in English on
the Flickr8k test set is measured before and after.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import babelclip
from babelclip.evaluate.read_pack import read_pack
from babelclip.evaluate.results import describe_origin, now
from babelclip.evaluate.run import run_task
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.train.recipe import find_recipe

ROOT = Path(__file__).resolve().parents[1]
PACK = "eval/images/tuxpaint_multilingual.tar.gz"
NUMBER = 300


def write_photos(data: Path, folder: Path) -> None:
    """The pack's first pictures as a user's folder."""
    folder.mkdir()
    lines = []
    photos = [photo for photo in read_pack(data, PACK).photos if not photo.record.get("dup")][:NUMBER]
    for number, photo in enumerate(photos):
        (folder / f"{number}.webp").write_bytes(photo.image)
        captions = {language: texts for language, texts in photo.captions.items() if texts}
        lines.append(json.dumps({"image": f"{number}.webp", "captions": captions}, ensure_ascii=False))
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")


def flickr(data: Path, model: Path | None) -> dict[str, float]:
    """R@5 both ways in English."""
    task = CrossmodalRetrieval.of_pack("flickr8k_test", data, "eval/images/flickr8k_test_multilingual.tar.gz", ["en"])
    encoder = babelclip.load(model, runtime="auto" if model is None else "torch")
    scores = run_task(task, encoder)[0].scores
    return {score.metric: round(score.value, 2) for score in scores if score.metric.endswith("@5")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "finetune.json")
    options = parser.parse_args()
    before = flickr(options.data, None)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        write_photos(options.data, photos)
        for seed in range(options.seeds):
            recipe = Path(folder, f"seed-{seed}.toml")
            text = find_recipe("finetune-lora").read_text().replace("held_out = 0.1", "held_out = 0.3334")
            recipe.write_text(f"seed = {seed}\n{text}")
            out = Path(folder, f"out-{seed}")
            command = [sys.executable, "-m", "babelclip", "train", str(recipe), "--model", "bundled"]
            subprocess.run([*command, "--data", str(photos), "--out", str(out)], check=True)
            report = json.loads((out / "report.json").read_text())
            runs.append({"seed": seed, "held_out": report, "flickr8k": flickr(options.data, out / "model")})
            print(json.dumps(runs[-1]))
    origin = describe_origin({}, None, "", 0)
    result = {
        "date": now(),
        "commit": origin.commit,
        "machine": origin.machine,
        "flickr8k_before": before,
        "runs": runs,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
