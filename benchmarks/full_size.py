"""jina-clip-v2's full size, from a random float16 file in the published layout: does it load, encode, fit in memory?

    python benchmarks/full_size.py [--out benchmarks/results/full_size.json] [--modes merged live]

Makes the published folder (published config.json and preprocessing, the whole XLM-R tokenizer with the truncation and
padding to 77 that the published file carries, 999 random tensors; 1.73 GB) in a temporary place, then for each way of
running loads it in a process of its own and encodes a text of more than 77 tokens and an image through
`babelclip.Encoder`. Needs 2 GB of disk, 6 GB of memory and some minutes; random weights say nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import lzma
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from babelclip.checkpoint.names import tensor_specs
from babelclip.checkpoint.weights import write_safetensors
from babelclip.towers.config import DualConfig

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
LIMIT = 24 * 2**30  # bytes
PUBLISHED_BYTES = 1_730_688_642  # of model.safetensors; ours has another header


def make_folder(path: Path) -> None:
    """The published layout at full size, with random float16 weights."""
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(FIXTURES / "published" / "jina-clip-v2" / name, path)
    tokenizer = json.loads(lzma.decompress((FIXTURES / "tokenizer" / "tokenizer.json.xz").read_bytes()))
    tokenizer["truncation"] = {"direction": "Right", "max_length": 77, "strategy": "LongestFirst", "stride": 0}
    pad = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}
    tokenizer["padding"] = {"strategy": {"Fixed": 77}, **pad}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    random = np.random.default_rng(0)
    tensors = {}
    for spec in tensor_specs(DualConfig.jina_clip_v2(), "jina_clip"):
        is_norm = "norm" in spec.name and spec.name.endswith("weight")
        values = random.standard_normal(spec.shape, np.float32) * np.float32(0.02)
        tensors[spec.published] = (values + is_norm).astype(np.float16)
    write_safetensors(path / "model.safetensors", tensors)


def measure(path: Path, mode: str) -> dict[str, Any]:
    """Load and encode in this process; peak memory counts mapped pages of the file too."""
    import torch

    from babelclip.checkpoint.folder import read_folder
    from babelclip.encoder import Encoder
    from babelclip.prepare.image import ImagePreparer
    from babelclip.prepare.text import TextPreparer
    from babelclip.runtime.torch_runtime import open_torch

    torch.set_num_threads(2)
    started = time.perf_counter()
    folder = read_folder(path)
    assert folder.image_prepare is not None
    dtype, adapters = ("bfloat16", "merged") if mode == "bfloat16" else ("float32", mode)
    encoder = Encoder(
        name="full-size",
        runtime=open_torch(folder, None, dtype, adapters),  # type: ignore[arg-type]
        text_preparer=TextPreparer(folder.tokenizer_file, folder.text_prepare),
        image_preparer=ImagePreparer(folder.image_prepare),
        dims=folder.config.dims,
    )
    loaded, after_load = time.perf_counter(), peak()
    text = "A bridge at dawn, 黎明的桥, мост на рассвете. " * 12
    num_tokens = len(encoder.tokenize([text])[0])
    text_vector = encoder.encode_text(text)
    after_text = time.perf_counter()
    image_vector = encoder.encode_image(np.random.default_rng(1).integers(0, 256, (600, 800, 3), np.uint8))
    after_image = time.perf_counter()
    assert num_tokens > 77
    for vector in (text_vector, image_vector):
        assert vector.shape == (1024,)
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
    return {
        "mode": mode,
        "tokens": num_tokens,
        "load_seconds": round(loaded - started, 2),
        "text_seconds": round(after_text - loaded, 2),
        "image_seconds": round(after_image - after_text, 2),
        "peak_gib_loaded": round(after_load / 2**30, 2),
        "peak_gib": round(peak() / 2**30, 2),
        "within_24_gib": peak() < LIMIT,
        "text_vector_head": [round(float(x), 6) for x in text_vector[:4]],
        "image_vector_head": [round(float(x), 6) for x in image_vector[:4]],
        "runtime": encoder.facts(),
    }


def peak() -> int:
    """Largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; its getrusage starts from the size of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_own_process(path: Path, mode: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(path), "--modes", mode]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "full_size.json")
    parser.add_argument("--modes", nargs="+", default=["merged", "live"], choices=["merged", "live", "bfloat16"])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.modes[0])))
        return
    with tempfile.TemporaryDirectory(prefix="full-size-") as temporary:
        path = Path(temporary)
        make_folder(path)
        size = (path / "model.safetensors").stat().st_size
        results = [in_own_process(path, mode) for mode in options.modes]
    content = {
        "what": "full-size jina-clip-v2, random float16 weights in the published layout, published configuration",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 2 threads",
        "note": "times were taken beside other work on the machine; memory is what this measures",
        "weights_bytes": size,
        "published_bytes": PUBLISHED_BYTES,
        "results": results,
    }
    options.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
