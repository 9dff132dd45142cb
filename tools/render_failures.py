"""Make docs/failures.md: queries that the bundled model gets wrong, with the photos that it found instead.

    python tools/render_failures.py --data DATA

First every ordinary query of the demo whose first photo is wrong. Then names: of the thousand names in each of some
languages, in an order drawn once, the first few whose five nearest of 998 photos are all wrong, and how often that
happens. Nothing is chosen by hand. All pictures are CC BY 2.0, each with its author and page.
"""

from __future__ import annotations

import argparse
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageOps

import babelclip
from babelclip.demo.album import read_album
from babelclip.demo.results import answer_queries
from babelclip.encoder import Encoder
from babelclip.evaluate.read_pack import LABELS, PackPhoto, read_names, read_pack

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "failures.md"
PICTURES = ROOT / "docs" / "failures"
PACK = "eval/images/nips2017_ccby_imagenet.tar.gz"
LANGUAGES = {"en": "English", "de": "German", "zh": "Chinese", "ar": "Arabic", "hi": "Hindi", "sw": "Swahili"}
SEED = 0
CASES = 2  # of each language
NEAREST = 5  # photos among which a right one counts as found
SHOWN = 3
SIDE, GAP = 160, 8  # pixels

HEAD = """# What goes wrong

Queries that the bundled model answers wrongly, and what it answers. In each picture: on the left a photo that was
meant, then the first {shown} that were found. Written by `tools/render_failures.py`; nothing is chosen by hand.
"""
DEMO = """
## Queries of the demo

{wrong} of {number} ordinary queries have a wrong photo first (`babelclip demo` shows all of them, among fifty photos).
"""
NAMES = """
## Names

A photo of each of ImageNet's classes is looked for by the class's name among {photos} photos of the NIPS 2017 set.
The image trunk was trained to tell these classes apart, so here it is at its best. Names without one right photo
among the first {nearest}:

{rates}

The first {cases} of each language, in an order drawn once:
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo to show, and what its license asks to be said."""

    image: Image.Image
    author: str
    page: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A query, what it says, the photo that was meant, and those that came first."""

    language: str
    query: str
    english: str | None
    rank: int  # of the best right photo, from 1
    meant: Picture
    found: tuple[Picture, ...]


def demo_failures(encoder: Encoder) -> tuple[list[Failure], int]:
    """Ordinary queries of the demo whose first photo is wrong, and the number of all."""
    results = answer_queries(encoder, read_album()).ordinary
    failures = []
    for result in results:
        if result.rank is None or result.rank == 1:
            continue
        shown = [result.photos[result.rank - 1], *result.photos[:SHOWN]]
        meant, *found = [Picture(_square(hit.photo.path), hit.photo.author, hit.photo.source) for hit in shown]
        query = result.query
        failures.append(Failure(query.language, query.text, query.english, result.rank, meant, tuple(found)))
    return failures, len(results)


def name_failures(encoder: Encoder, data: Path) -> tuple[list[Failure], dict[str, float], int]:
    """Names without a right photo among the nearest; the share of such names by language; the number of photos."""
    photos = read_pack(data, PACK).photos
    names, _ = read_names(data, LABELS, "in1k:")
    vectors = encoder.encode_image([photo.image for photo in photos])
    labels = np.array([photo.record["label"] for photo in photos])
    failures: list[Failure] = []
    rates: dict[str, float] = {}
    for code, language in LANGUAGES.items():
        drawn = np.random.default_rng(SEED).permutation(sorted(set(labels.tolist())))
        named = [label for label in drawn if code in names[label]]
        scores = encoder.encode_text([names[label][code] for label in named]) @ vectors.T
        order = np.argsort(-scores, axis=1)
        ranks = [int(np.argmax(labels[row] == label)) + 1 for row, label in zip(order, named, strict=True)]
        wrong = [place for place, rank in enumerate(ranks) if rank > NEAREST]
        rates[language] = len(wrong) / len(named)
        for place in wrong[:CASES]:
            label, shown = named[place], [order[place][ranks[place] - 1], *order[place][:SHOWN]]
            meant, *found = [_picture(photos[photo]) for photo in shown]
            english = None if code == "en" else names[label]["en"]
            failures.append(Failure(language, names[label][code], english, ranks[place], meant, tuple(found)))
    return failures, rates, len(photos)


def _picture(photo: PackPhoto) -> Picture:
    return Picture(_square(io.BytesIO(photo.image)), photo.record["author"], photo.record["url"])


def _square(source: Path | io.BytesIO) -> Image.Image:
    with Image.open(source) as image:
        return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE))


def strip(failure: Failure) -> Image.Image:
    """What was meant, a wider gap, what was found."""
    sheet = Image.new("RGB", ((SIDE + GAP) * (1 + SHOWN) + 2 * GAP, SIDE), "white")
    sheet.paste(failure.meant.image, (0, 0))
    for place, picture in enumerate(failure.found):
        sheet.paste(picture.image, (SIDE + 3 * GAP + place * (SIDE + GAP), 0))
    return sheet


def section(failures: Sequence[Failure], first: int) -> str:
    """Headings, pictures and credits; the pictures are written with numbers from ``first``."""
    parts = []
    for number, failure in enumerate(failures, start=first):
        file = PICTURES / f"{number:02d}.webp"
        strip(failure).save(file, "WEBP", quality=75)
        says = "" if failure.english is None else f" ({failure.english})"
        credits = ", ".join(f"[{_plain(one.author)}]({_link(one.page)})" for one in (failure.meant, *failure.found))
        title = f"### {failure.language}: {failure.query}{says}\n\nThe right photo comes at place {failure.rank}."
        parts.append(f"\n{title}\n\n![what was meant and what was found](failures/{file.name})\n\nPhotos: {credits}.\n")
    return "".join(parts)


def _plain(text: str) -> str:
    return text.replace("[", "(").replace("]", ")").strip()


def _link(page: str) -> str:
    return quote(page, safe=":/?=&#%@+,;~")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with eval/ and labels.json.gz")
    options = parser.parse_args()
    encoder = babelclip.load()
    of_demo, queries = demo_failures(encoder)
    of_names, rates, photos = name_failures(encoder, options.data)
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir()
    listed = "\n".join(f"- {language}: {100 * rate:.0f}%" for language, rate in rates.items())
    demo = DEMO.format(wrong=len(of_demo), number=queries) + section(of_demo, 1)
    heading = NAMES.format(photos=photos, nearest=NEAREST, rates=listed, cases=CASES)
    names = heading + section(of_names, 1 + len(of_demo))
    PAGE.write_text(HEAD.format(shown=SHOWN) + demo + names, encoding="utf-8")


if __name__ == "__main__":
    main()
