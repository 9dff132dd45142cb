"""A small data folder in the form of our packs: drawn pictures, invented texts."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from PIL import Image

COLORS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20), "white": (240, 240, 240)}
GERMAN = {"red": "rot", "blue": "blau", "green": "grün", "white": "weiß"}
SIDEWAYS = 6  # EXIF orientation: the picture has to be turned by a quarter
PHOTOS = 24  # captioned ones


def picture(color: str, seed: int, *, exif: bool = False) -> bytes:
    """Noise about a color, brighter to the right; with ``exif`` it lies on its side."""
    noise = np.random.default_rng(seed).integers(-15, 15, (32, 48, 3)) + np.linspace(-60, 60, 48)[None, :, None]
    image = Image.fromarray(np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8))
    file, tags = io.BytesIO(), image.getexif()
    tags[0x0112] = SIDEWAYS if exif else 1
    image.save(file, "WEBP", exif=tags)
    return file.getvalue()


def records() -> list[tuple[dict[str, Any], bytes]]:
    """Photos of every kind."""
    found = []
    for i in range(PHOTOS):
        color = list(COLORS)[i % 4]
        english = [f"{word} {color} {i}" for word in ("a", "the", "all", "one")]
        captions = {"en": english, "de": [GERMAN[color]]}
        fields = {"id": f"flickr8k/{i}.jpg", "source": "flickr8k", "kind": "caption", "captions": captions}
        found.append((fields, picture(color, i, exif=i == 1)))
    for i, color in enumerate(COLORS):
        label = {"kind": "label", "label": f"in1k:{i:03}", "captions": {"en": [f"Thing {i}"]}}
        found.append(({"id": f"imagenette/{i}.JPEG", "source": "imagenette", **label}, picture(color, 100 + i)))
        plain = {"kind": "photo", "captions": {}}
        found.append(({"id": f"coco/{i}", "source": "coco", **plain}, picture(color, 200 + i)))
    shoe = {"kind": "product", "captions": {"en": ["a shoe"]}}
    found.append(({"id": "fashion/1", "source": "fashion_products", **shoe}, picture("red", 300)))
    captioned = {"kind": "caption", "captions": {"en": ["a blue sea"]}}
    found.append(({"id": "coco/9", "source": "coco", **captioned}, picture("blue", 400)))
    return found


def write_pack(path: Path, photos: list[tuple[dict[str, Any], bytes]]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for number, (fields, image) in enumerate(photos):
            record = json.dumps({"licence": "none", **fields}).encode()
            for name, content in ((f"{number}.webp", image), (f"{number}.json", record)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_json_gz(path: Path, content: Any) -> None:
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))


def write_data(folder: Path) -> None:
    """The whole folder."""
    (folder / "train").mkdir(parents=True)
    (folder / "text").mkdir()
    photos = records()
    write_pack(folder / "train" / "a.tar.gz", photos[:20])
    write_pack(folder / "train" / "b.tar.gz", photos[20:])
    rows = [
        (source, i, language, f"{name} {i}")
        for source in ("multi30k_captions", "concept_imagenet", "ntrex")
        for i in range(12)
        for language, name in (("en", list(COLORS)[i % 4]), ("de", GERMAN[list(COLORS)[i % 4]]))
    ]
    columns = dict(zip(("source", "pid", "lang", "text"), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(pa.table(columns), folder / "text" / "parallel.parquet")
    pairs = [(language, "a lake", f"a sea {i}", i / 2) for language in ("en", "de") for i in range(10)]
    columns = dict(zip(("lang", "sentence1", "sentence2", "score"), map(list, zip(*pairs, strict=True)), strict=True))
    parquet.write_table(pa.table(columns), folder / "text" / "stsb_train.parquet")
    write_json_gz(folder / "text" / "flickr8k_extra_captions.json.gz", {"flickr8k/0.jpg": {"de": ["rot", "ganz rot"]}})
    write_json_gz(folder / "text" / "coco_extra_captions.json.gz", {"coco/9": {"en": ["water under the sky"]}})
    names = {f"in1k:{i:03}": {"en": f"thing {i}", "de": f"Ding {i}", "en_alt": "x"} for i in range(1000)}
    names["in1k:000"]["fr"] = "chose"
    write_json_gz(folder / "labels.json.gz", names)
