"""Gray photos of 16 bits are found as often as those of 8: the demo's fifty, each by its title.

    python benchmarks/deep_gray.py [--out benchmarks/results/deep_gray.json]

Found: the title's nearest photo of the fifty is its own. The photos are made gray once; the 16-bit form holds the same
gray (257 times the number), so a viewer shows the same picture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import babelclip
from babelclip.demo.album import read_album
from babelclip.evaluate.results import describe_origin, now

OUT = Path(__file__).resolve().parent / "results" / "deep_gray.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    photos = read_album().photos
    with tempfile.TemporaryDirectory() as name, babelclip.load() as encoder:
        forms: dict[str, list[Path]] = {"color": [photo.path for photo in photos], "gray, 8 bits": [], "16 bits": []}
        for number, photo in enumerate(photos):
            gray = np.asarray(Image.open(photo.path).convert("L"))
            for form, pixels in (("gray, 8 bits", gray), ("16 bits", gray.astype(np.uint16) * 257)):
                forms[form].append(Path(name) / f"{number}-{pixels.dtype}.png")
                Image.fromarray(pixels).save(forms[form][-1])
        titles = encoder.encode_text([photo.title for photo in photos])
        images = {form: encoder.encode_image(paths) for form, paths in forms.items()}
    found = {
        form: float((np.argmax(titles @ vectors.T, axis=1) == np.arange(len(photos))).mean())
        for form, vectors in images.items()
    }
    cosines = (images["gray, 8 bits"] * images["16 bits"]).sum(axis=1)
    print({form: f"{share:.0%}" for form, share in found.items()}, f"smallest cosine {cosines.min():.6f}")
    origin = describe_origin({}, None, "", 0)
    result = {
        "date": now(),
        "commit": origin.commit,
        "machine": origin.machine,
        "photos": len(photos),
        "found_by_title": {form: round(share, 3) for form, share in found.items()},
        "smallest_cosine_16_to_8_bits": round(float(cosines.min()), 6),
    }
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
