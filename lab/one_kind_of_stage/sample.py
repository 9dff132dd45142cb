"""One small fixed sample of the data, written as a data folder of its own; the choice is by checksums of the ids."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from babelclip.train.data.shards import PhotoRecord, read_packs

LANGUAGES = ("en", "ar", "de", "fr", "hi", "ru", "tr", "zh")
NAME_LANGUAGES = ("en", "ar", "de", "hi", "ru", "zh")
PAIR_LANGUAGES = ("de", "en", "zh")
PHOTOS = {
    ("flickr8k", "caption"): 60,
    ("coco", "caption"): 60,
    ("imagenette", "label"): 60,
    ("emoji_noto", "label"): 60,
}
MEANINGS = {
    "multi30k_captions": 50,
    "ntrex": 50,
    "sib200_flores": 40,
    "udhr": 15,
    "concept_imagenet": 50,
    "concept_emoji_cldr": 30,
    "concept_territory_cldr": 15,
}
PAIRS = 150  # of each language, the same in all


def order_of(name: object) -> tuple[int, str]:
    """A fixed order that has nothing to do with the data's own."""
    return zlib.crc32(str(name).encode()), str(name)


def write_sample(data: Path, folder: Path) -> dict[str, Any]:
    """Write ``train/``, ``text/``, ``labels.json.gz`` and ``contrast/``; returns the choice as ids."""
    photos = _photos(data, folder)
    keys = [record.key for record, _ in photos]
    extra = json.loads(gzip.decompress((data / "text" / "flickr8k_extra_captions.json.gz").read_bytes()))
    extra = {key: extra[key] for key in keys if key in extra}
    (folder / "text").mkdir(parents=True)
    _gz(folder / "text" / "flickr8k_extra_captions.json.gz", extra)
    labels = json.loads(gzip.decompress((data / "labels.json.gz").read_bytes()))
    own = {record.label for record, _ in photos}
    labels = {
        label: {language: name for language, name in names.items() if language in NAME_LANGUAGES}
        for label, names in labels.items()
        if label.startswith("in1k:") or label in own
    }
    _gz(folder / "labels.json.gz", labels)
    texts = _texts(data, folder)
    pairs = _pairs(data, folder)
    contrast = _contrast(folder, photos, texts, pairs)
    choice = {
        "photos": keys,
        "parallel": {source: sorted({row[1] for row in texts if row[0] == source}) for source in MEANINGS},
        "languages": list(LANGUAGES),
        "names": {"labels": "in1k: and the photos' own", "languages": list(NAME_LANGUAGES)},
        "stsb_train": {"languages": list(PAIR_LANGUAGES), "places": pairs["places"]},
        "contrast": contrast,
    }
    (folder / "sample.json").write_text(json.dumps(choice, indent=1))
    return choice


def _photos(data: Path, folder: Path) -> list[tuple[PhotoRecord, bytes]]:
    found: dict[tuple[str, str], list[tuple[PhotoRecord, bytes]]] = defaultdict(list)
    for record, image in read_packs(data / "train"):
        if (record.source, record.kind) in PHOTOS:
            found[record.source, record.kind].append((record, image))
    chosen = [
        photo
        for kind, number in PHOTOS.items()
        for photo in sorted(found[kind], key=lambda photo: order_of(photo[0].key))[:number]
    ]
    (folder / "train").mkdir(parents=True)
    with (
        (folder / "train" / "sample.tar.gz").open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for number, (record, image) in enumerate(chosen):
            fields = {
                "id": record.key,
                "source": record.source,
                "kind": record.kind,
                "licence": record.license,
                "captions": {language: list(texts) for language, texts in record.captions.items()},
                "label": record.label,
            }
            for name, content in ((f"{number:04d}.webp", image), (f"{number:04d}.json", json.dumps(fields).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return chosen


def _texts(data: Path, folder: Path) -> list[tuple[str, int, str, str]]:
    table = parquet.read_table(data / "text" / "parallel.parquet", columns=["source", "pid", "lang", "text"])
    of_table = [table[name].to_pylist() for name in ("source", "pid", "lang", "text")]
    by_source: dict[str, set[int]] = defaultdict(set)
    for source, pid, language, _ in zip(*of_table, strict=True):
        if language == "en" and source in MEANINGS:
            by_source[source].add(pid)
    wanted = {
        source: set(sorted(by_source[source], key=lambda pid, s=source: order_of(f"{s} {pid}"))[:number])
        for source, number in MEANINGS.items()
    }
    rows = [
        row
        for row in zip(*of_table, strict=True)
        if row[0] in wanted and row[1] in wanted[row[0]] and row[2] in LANGUAGES
    ]
    names = ("source", "pid", "lang", "text")
    parquet.write_table(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))),
        folder / "text" / "parallel.parquet",
    )
    return rows


def _pairs(data: Path, folder: Path) -> dict[str, Any]:
    names = ("lang", "sentence1", "sentence2", "score")
    table = parquet.read_table(data / "text" / "stsb_train.parquet", columns=list(names))
    by_language: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in zip(*(table[name].to_pylist() for name in names), strict=True):
        by_language[row[0]].append(row)
    places = sorted(sorted(range(len(by_language["en"])), key=order_of)[:PAIRS])
    rows = [by_language[language][place] for language in PAIR_LANGUAGES for place in places]
    parquet.write_table(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))),
        folder / "text" / "stsb_train.parquet",
    )
    return {"places": places, "rows": rows}


def _contrast(folder: Path, photos: list[Any], texts: list[Any], pairs: dict[str, Any]) -> dict[str, Any]:
    """What people's own data look like: a folder of captioned images, and rows of texts."""
    home = folder / "contrast"
    (home / "photos").mkdir(parents=True)
    captioned = [
        (record, image)
        for record, image in photos
        if record.kind == "caption" and set(record.captions) & set(LANGUAGES)
    ][30:90]
    lines = []
    for number, (record, image) in enumerate(captioned):
        (home / "photos" / f"{number:03d}.webp").write_bytes(image)
        captions = {language: list(found) for language, found in record.captions.items() if language in LANGUAGES}
        lines.append(json.dumps({"image": f"{number:03d}.webp", "captions": captions}))
    (home / "photos" / "captions.jsonl").write_text("\n".join(lines))
    by_meaning: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for source, pid, language, text in texts:
        by_meaning[source, pid].setdefault(language, text)
    together = [
        found for (source, _), found in by_meaning.items() if source in ("multi30k_captions", "ntrex") and "de" in found
    ]
    generator = np.random.default_rng(0)
    rows, triplets = [], []
    for place, found in enumerate(together):
        language = ("de", "fr", "zh")[place % 3] if place % 3 and ("fr", "zh")[place % 3 - 1] in found else "de"
        rows.append({"anchor": found[language], "positive": found["en"]})
        others = generator.choice([other for other in range(len(together)) if other != place], 3, replace=False)
        triplets.append(
            {
                "anchor": found[language],
                "positive": found["en"],
                "negatives": [together[other]["en"] for other in others],
                "scores": [round(float(x), 3) for x in (4 + generator.random(), *generator.normal(0, 1.5, 3))],
            }
        )
    rows += rows[:10]  # the same texts twice: equal keys
    scored = [{"sentence1": a, "sentence2": b, "score": float(score)} for _, a, b, score in pairs["rows"]]
    for name, found in (("pairs", rows), ("triplets", triplets), ("scored", scored)):
        (home / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in found))
    return {
        "photos": [record.key for record, _ in captioned],
        "pairs": len(rows),
        "triplets": len(triplets),
        "scored": len(scored),
    }


def _gz(path: Path, content: Any) -> None:
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
