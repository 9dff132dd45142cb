"""The README's three lines from a clone to a search of one's own folder, typed as they stand there, each timed.

    python benchmarks/three_lines.py --photos DATA/eval/images/coco_captions.tar.gz

The clone is of this checkout's last commit, from the local disk, into an empty folder. pip's cache is not used, so the
set-up includes fetching every package from whatever index pip is set to. The photos of the archive become ~/Photos.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

from PIL import Image

from babelclip.evaluate.results import describe_origin, now
from babelclip.tar_samples import read_entries

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "three_lines.json"


def lines_of_readme() -> list[str]:
    """The three lines, this checkout for the address."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(git clone ADDRESS .*?)```", text, re.DOTALL)
    lines: list[str] = blocks[0].strip().replace("ADDRESS", shlex.quote(str(ROOT))).splitlines()
    assert len(blocks) == 1, "the README shows one way from a clone to a search"
    assert len(lines) == 3, "they are three lines"
    return lines


def unpack(archive: Path, folder: Path) -> tuple[int, int]:
    """The archive's photos as files: how many, and how many pixels in all."""
    folder.mkdir()
    count = pixels = 0
    for entry in filter(lambda entry: entry.is_image, read_entries(archive)):
        file = folder / f"{count:05}{entry.suffix}"
        file.write_bytes(entry.read())
        with Image.open(file) as image:
            pixels += image.width * image.height
        count += 1
    return count, pixels


def typed(lines: list[str], folder: Path) -> tuple[list[float], str]:
    """Seconds of each line, all typed into one shell, and what the last one printed."""
    script = "set -e\necho $EPOCHREALTIME >&3\n"
    for number, line in enumerate(lines):
        script += f"{line} > {folder}/said-{number}\necho $EPOCHREALTIME >&3\nexport HOME={folder}\n"
    ours = ("BABELCLIP_", "XDG_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with (folder / "times").open("wb") as times:
        subprocess.run(
            ["bash", "-c", f"exec 3>{times.name}\n{script}"],
            cwd=folder,
            env={**environment, "PIP_NO_CACHE_DIR": "1"},
            check=True,
        )
    stamps = [float(stamp.replace(",", ".")) for stamp in (folder / "times").read_text().split()]
    seconds = [after - before for before, after in pairwise(stamps)]
    return seconds, (folder / f"said-{len(lines) - 1}").read_text()


def output_of(command: list[str | Path]) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a tar archive that has photos in it")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    lines = lines_of_readme()
    load = round(os.getloadavg()[0], 1)  # what else the machine was doing
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count, pixels = unpack(options.photos, folder / "Photos")
        seconds, found = typed(lines, folder)
        clone = folder / "babelclip"
        packages = json.loads(output_of([clone / ".venv-core" / "bin" / "pip", "list", "--format", "json"]))
        commit = output_of(["git", "-C", clone, "rev-parse", "HEAD"]).strip()
        assert f"{folder}/Photos/" in found, "the search found photos"
    result = {
        "date": now(),
        "commit": commit,
        "machine": describe_origin({}, None, "", 0).machine,
        "load_before": load,
        "photos": count,
        "megapixels_each": round(pixels / count / 1e6, 2),
        "packages": len(packages),
        "hits": len(found.splitlines()),
        "set_up_seconds": round(seconds[0], 1),
        "index_seconds": round(seconds[1], 1),
        "search_seconds": round(seconds[2], 2),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
