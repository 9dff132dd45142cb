"""Peak memory of a training step: a batch of 64, and 4,096 by gradient caching in pieces of 64.

    python benchmarks/training_memory.py [--out benchmarks/results/training_memory.json]

The nano recipe's model, all weights trained, on drawn shapes (examples/draw_shapes.py): forward and backward, no
optimizer.
Each case is a process of its own, whose largest resident size is read at its end; the first takes no step at all. They
run with MALLOC_MMAP_THRESHOLD_=131072, so that glibc gives back what a piece has freed instead of keeping it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from babelclip.evaluate.results import describe_origin, now

ROOT = Path(__file__).resolve().parents[1]
CASES = ((0, None), (64, None), (256, None), (4096, 64))


def measure(batch: int, piece: int | None, shapes: Path) -> dict[str, float | int | None]:
    """One step in this process; seconds and GiB."""
    import time

    import torch

    from babelclip.bundled import bundled_folder
    from babelclip.checkpoint.convert import load_towers
    from babelclip.prepare.image import ImagePreparer
    from babelclip.prepare.text import TextPreparer
    from babelclip.train.data.sources import Sources
    from babelclip.train.engine.distributed import ONE_PROCESS
    from babelclip.train.engine.step import Forward, backward
    from babelclip.train.open_stage import Workshop, open_stage
    from babelclip.train.recipe import find_recipe, read_recipe
    from babelclip.train.start_model import start_model

    torch.set_num_threads(2)
    recipe, device = read_recipe(find_recipe("nano")), torch.device("cpu")
    with tempfile.TemporaryDirectory() as start:
        folder = start_model(recipe, None, bundled_folder() / "tokenizer.json", shapes, Path(start, "model"))
        towers = load_towers(folder)
        texts = TextPreparer(folder.tokenizer_file, folder.text_prepare)
    assert folder.image_prepare is not None
    (plan,) = recipe.stages
    (contrast,) = plan.objectives
    draws = (replace(contrast.draws[0], batch=max(batch, 1)),)
    plan = replace(plan, objectives=(replace(contrast, draws=draws),), inputs=replace(plan.inputs, keep_patches=1.0))
    sources, images = Sources(recipe.data, shapes, 0.0), ImagePreparer(folder.image_prepare)
    stage = open_stage(plan, towers, Workshop(recipe, sources, shapes, shapes / "cache", texts, images, device))
    began = time.perf_counter()
    if batch:
        backward(Forward(towers, stage), stage, stage.draw(0, ONE_PROCESS), ONE_PROCESS, piece)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"batch": batch, "piece": piece, "gib": round(peak, 2), "seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "training_memory.json")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        batch, piece, shapes = options.case
        print(json.dumps(measure(int(batch), int(piece) or None, Path(shapes))))
        return
    with tempfile.TemporaryDirectory() as folder:
        drawn = [sys.executable, str(ROOT / "examples" / "draw_shapes.py"), folder, "--number", "4200"]
        subprocess.run(drawn, check=True, stdout=subprocess.DEVNULL)
        cases = []
        for batch, piece in CASES:
            command = [sys.executable, __file__, "--case", str(batch), str(piece or 0), folder]
            environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            cases.append(json.loads(done.stdout))
            print(cases[-1])
    origin = describe_origin({}, None, "", 0)
    result = {"date": now(), "commit": origin.commit, "machine": origin.machine, "cases": cases}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
