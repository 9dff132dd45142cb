"""The nano recipe as a newcomer runs it: drawings, training from nothing, held-out pictures before and after.

python benchmarks/nano.py [--out benchmarks/results/nano.json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from babelclip.evaluate.results import describe_origin, now

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "nano.json")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shapes, out = Path(folder, "shapes"), Path(folder, "out")
        subprocess.run([sys.executable, str(ROOT / "examples" / "draw_shapes.py"), str(shapes)], check=True)
        command = [sys.executable, "-m", "babelclip", "train", "nano", "--data", str(shapes), "--out", str(out)]
        subprocess.run(command, check=True)
        report = json.loads((out / "report.json").read_text())
    origin = describe_origin({}, None, "", 0)
    result = {
        "date": now(),
        "commit": origin.commit,
        "machine": origin.machine,
        "seconds": round(time.perf_counter() - began),
        "held_out": report,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["held_out"], indent=1), result["seconds"])


if __name__ == "__main__":
    main()
