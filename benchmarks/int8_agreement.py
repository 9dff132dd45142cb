"""How near the shipped int8 model is to the float model that it was made from, on real texts and photos.

    python benchmarks/int8_agreement.py FLOAT_FOLDER [--data DIR] [--out benchmarks/results/int8_agreement.json]

The trainer writes both folders; the float one is not shipped. Texts and photos are 500 captions in all languages and
250 photos of the Flickr8k test pack, which is read from --data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import babelclip
from babelclip.evaluate.read_pack import read_pack
from babelclip.evaluate.results import describe_origin, now

ROOT = Path(__file__).resolve().parents[1]
PACK = "eval/images/flickr8k_test_multilingual.tar.gz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the float model")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "int8_agreement.json")
    options = parser.parse_args()
    photos = read_pack(options.data, PACK).photos[:250]
    captions = [text for photo in photos for texts in photo.captions.values() for text in texts[:1]][:500]
    shipped, exact = babelclip.load(), babelclip.load(options.folder, runtime="torch")
    result: dict[str, object] = {
        "date": now(),
        "commit": describe_origin({}, None, "", 0).commit,
        "model": shipped.name,
    }
    for kind, one, other in (
        ("texts", shipped.encode_text(captions), exact.encode_text(captions)),
        ("images", *(e.encode_image([photo.image for photo in photos]) for e in (shipped, exact))),
    ):
        cosines = (one * other).sum(axis=1)
        result[kind] = {
            "number": len(one),
            "least_cosine": round(float(cosines.min()), 5),
            "mean_cosine": round(float(np.mean(cosines)), 5),
        }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
