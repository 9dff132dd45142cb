"""One real step of finetune-lora at jina-clip-v2's full widths, two layers a tower; and the dry run's figures for all.

    python benchmarks/full_width_step.py [--out benchmarks/results/full_width_step.json]

Makes a folder in the published layout (random float16 weights, the whole XLM-R vocabulary, 512x512 pixels, two of the
24 layers of each tower), trains one step of 8 drawn pictures in pieces of 4 on it, checks that what comes out is of the
same layout and changed, and asks the dry run what the recipe as it stands needs of the whole model.
"""

from __future__ import annotations

import argparse
import json
import lzma
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from babelclip.checkpoint.folder import ModelFolder, read_folder
from babelclip.checkpoint.names import tensor_specs
from babelclip.checkpoint.write_published import write_published
from babelclip.evaluate.results import describe_origin, now
from babelclip.prepare.config import ImagePrepareConfig, TextPrepareConfig
from babelclip.towers.config import DualConfig
from babelclip.train.estimate import stage_needs
from babelclip.train.recipe import find_recipe, read_recipe

ROOT = Path(__file__).resolve().parents[1]
LAYERS, PICTURES = 2, 20
TOKENIZER = ROOT / "tests" / "fixtures" / "tokenizer" / "tokenizer.json.xz"


def write_model(folder: Path) -> ModelFolder:
    """Two layers of each tower, full widths, random weights."""
    whole = DualConfig.jina_clip_v2()
    adapters = whole.text.adapters
    assert whole.vision is not None
    assert adapters is not None
    config = replace(
        whole, text=replace(whole.text, num_layers=LAYERS), vision=replace(whole.vision, num_layers=LAYERS)
    )
    random = np.random.default_rng(0)
    tensors = {}
    for spec in tensor_specs(config):
        is_gain = "norm" in spec.name and spec.name.endswith("weight")
        tensors[spec.name] = (random.standard_normal(spec.shape, np.float32) * 0.02 + is_gain).astype(np.float16)
    tokenizer = folder.parent / "tokenizer.json"
    tokenizer.write_bytes(lzma.decompress(TOKENIZER.read_bytes()))
    return write_published(
        folder,
        config=config,
        text_prepare=TextPrepareConfig(max_tokens=8192, adapters=adapters.tasks, always_adapter=adapters.tasks[0]),
        image_prepare=ImagePrepareConfig(size=whole.vision.image_size),
        tensors=tensors,
        tokenizer_file=tokenizer,
    )


def one_step(start: Path, place: Path) -> dict[str, Any]:
    """Train one step in a process of its own."""
    shapes, out, recipe = place / "shapes", place / "out", place / "one.toml"
    drawn = [sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(shapes), "--number", str(PICTURES)]
    subprocess.run(drawn, check=True, stdout=subprocess.DEVNULL)
    text = find_recipe("finetune-lora").read_text()
    for old, new in {"steps = 120": "steps = 1", "batch = 64": "batch = 8", "piece = 32": "piece = 4"}.items():
        assert old in text, old
        text = text.replace(old, new)
    recipe.write_text(text)
    began = time.perf_counter()
    command = [sys.executable, "-m", "babelclip", "train", str(recipe), "--model", str(start), "--data", str(shapes)]
    subprocess.run([*command, "--out", str(out)], check=True)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    step = next(line for line in lines if line.get("step") == 1 and "loss" in line)
    before, after = read_folder(start), read_folder(out / "model")
    assert before.layout == after.layout == "jina_clip", (before.layout, after.layout)
    assert before.fingerprint() != after.fingerprint()
    return {
        "loss": step["loss"],
        "step_seconds": round(step["seconds"], 1),
        "run_seconds": round(time.perf_counter() - began, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "full_width_step.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = write_model(Path(folder, "start"))
        step = one_step(start.path, Path(folder))
    recipe = read_recipe(find_recipe("finetune-lora"))
    needs = stage_needs(recipe.stages[0], DualConfig.jina_clip_v2())
    origin = describe_origin({}, None, "", 0)
    result = {
        "date": now(),
        "commit": origin.commit,
        "machine": origin.machine,
        "one_step_of_two_layers": {"batch": 8, "piece": 4, **step},
        "dry_run_of_all_layers": {
            "trained_parameters": {name: tower.trained for name, tower in needs.towers.items()},
            "weights_gib": round(needs.weights_bytes / 2**30, 2),
            "inner_values_gib": round(needs.bytes_kept / 2**30, 2),
            "tflop_per_step": round(needs.flops / 1e12, 1),
            "seconds_per_step": {name: round(seconds, 3) for name, seconds in needs.seconds().items()},
        },
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
