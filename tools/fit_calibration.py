"""Fit what the bundled model's scores mean (``calibration.json``).

    python tools/fit_calibration.py --data DATA

Run it after ``ship_model.py``. DATA has the training packs and the names of their labels. Two pools count alike: the
photos that the recipe holds out, with their captions, and a dozen photos of every label with its names in thirteen
languages. The latter were trained on; what that flatters is told by benchmarks/score_calibration.py on photos that were
not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from babelclip.bundled import bundled_folder
from babelclip.train.calibrate import calibrate

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "small"
sys.path.insert(0, str(RECIPE))  # what reads our packs lies beside the recipe
from packs import PhotoRecord, held_out_photos, read_packs  # noqa: E402

LANGUAGES = ("en", "de", "fr", "es", "pt", "ru", "zh", "ar", "uk", "cs", "hi", "ja", "tr")
PHOTOS_A_LABEL = 12
NO_PHOTOS = ("emoji_noto", "emoji_fluent3d", "flags")


class CaptionedFolder:
    """A folder in the form that the trainer reads: images and captions.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._captions = (path / "captions.jsonl").open("w", encoding="utf-8")

    def add(self, record: PhotoRecord, image: bytes, captions: Mapping[str, list[str]]) -> None:
        """One more photo."""
        name = f"{record.key.replace('/', '_')}.webp"
        (self.path / name).write_bytes(image)
        self._captions.write(json.dumps({"image": name, "captions": captions}, ensure_ascii=False) + "\n")
        self._captions.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    settings = tomllib.loads((RECIPE / "prepare.toml").read_text(encoding="utf-8"))
    names = json.loads(gzip.decompress((data / "labels.json.gz").read_bytes()))
    packs = list(read_packs(data, {*settings["exclude_sources"], *NO_PHOTOS}))
    records = (record for record, _ in packs)
    held_out = held_out_photos(records, settings["held_out_source"], settings["held_out_share"])
    seen: Counter[str] = Counter()
    with TemporaryDirectory() as scratch:
        captioned, named = (CaptionedFolder(Path(scratch) / name) for name in ("captioned", "named"))
        for record, image in packs:
            if record.id in held_out:
                captioned.add(record, image, {language: list(texts) for language, texts in record.captions.items()})
            elif record.label in names and seen[record.label] < PHOTOS_A_LABEL:
                seen[record.label] += 1
                known = {each: [names[record.label][each]] for each in LANGUAGES if each in names[record.label]}
                named.add(record, image, known)
        calibration = calibrate(bundled_folder(), [captioned.path, named.path], progress=True)
    print(f"{calibration.texts:,} captions and names of {calibration.photos:,} photos")
    for width, chance in calibration.chances.items():
        print(f"{width:4}: {chance}")


if __name__ == "__main__":
    main()
