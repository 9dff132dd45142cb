"""Whether the chances that a search tells come true, and what ranking by standard scores gains where kinds are mixed.

    python benchmarks/score_calibration.py [--data DIR] [--out benchmarks/results/score_calibration.json]

Chances: the captions of Flickr8k test among its thousand photos, and names of ImageNet's classes among the 998 photos
of nips2017; none of these photos was in the fit. Each set's own share of right pairs is taken as the odds. Other photos
than a caption's own may suit it too, so what comes true is counted too low there.

Kinds: English captions ask an index of photos and of other-language captions of photos; the right answers are the
caption's own photo and that photo's text. Share of queries with each among the first ten.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import babelclip
from babelclip.arrays import Vectors
from babelclip.encoder import Encoder
from babelclip.evaluate.read_pack import PackPhoto, read_names, read_pack
from babelclip.evaluate.results import describe_origin, now
from babelclip.score_calibration import ScoreCalibration
from babelclip.score_normalization import ScoreNormalization
from babelclip.search.fuse import LEAST

ROOT = Path(__file__).resolve().parents[1]
FLICKR, NAMED = (f"eval/images/{name}.tar.gz" for name in ("flickr8k_test_multilingual", "nips2017_ccby_imagenet"))
OTHERS = ("de", "fr", "pt", "cs", "zh", "es", "ar", "uk")
NAME_LANGUAGES = ("en", "de", "ru", "zh")
BINS = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 1.0)
SIZES = ((1000, 1000), (100, 100), (1000, 12), (12, 1000))
QUERIES = 2000
Scores = Callable[[Vectors, Vectors], NDArray[np.float32]]
"""Queries (Q, E) and rows (N, E) of one kind -> what they are ranked by (Q, N)."""


def told_and_true(
    calibration: ScoreCalibration, texts: Vectors, images: Vectors, right: NDArray[np.bool_]
) -> list[dict[str, float | int]]:
    """By bins of the chance, at the set's own share of right pairs: pairs, mean chance, share that is right."""
    share = float(right.mean())
    found = [calibration.chance(text, images @ text, odds=share / (1 - share)) for text in texts]
    chances, true = np.concatenate([row for row in found if row is not None]), right.ravel()
    rows = []
    for low, high in pairwise(BINS):
        inside = (chances > low) & (chances <= high)
        if inside.sum() >= 30:
            rows.append(
                {
                    "pairs": int(inside.sum()),
                    "told": round(float(chances[inside].mean()), 4),
                    "true": round(float(true[inside].mean()), 4),
                }
            )
    return rows


def captions_of(photos: tuple[PackPhoto, ...], language: str, most: int) -> tuple[list[str], NDArray[np.int64]]:
    """Up to ``most`` captions of each photo, and whose they are."""
    pairs = [(text, row) for row, photo in enumerate(photos) for text in photo.captions.get(language, [])[:most]]
    return [text for text, _ in pairs], np.array([row for _, row in pairs], np.int64)


def ways(calibration: ScoreCalibration, images: Vectors, texts: Vectors) -> dict[str, dict[str, Scores]]:
    """What hits of each kind can be ranked by. A search takes the cohorts of its own rows where they are enough."""

    def less_mean(cohort: ScoreNormalization) -> Scores:
        return lambda queries, rows: queries @ rows.T - (queries @ cohort.mean)[:, None]

    def standard(cohort: ScoreNormalization) -> Scores:
        return lambda queries, rows: np.stack(
            [cohort.standard_scores(query, scores) for query, scores in zip(queries, queries @ rows.T, strict=True)]
        )

    model = dict(calibration.cohorts)
    taken = model | {
        kind: ScoreNormalization.of(rows) for kind, rows in (("image", images), ("text", texts)) if len(rows) >= LEAST
    }
    plain: Scores = lambda queries, rows: queries @ rows.T  # noqa: E731
    return {
        "cosine": {"image": plain, "text": plain},
        "cosine less the means": {kind: less_mean(cohort) for kind, cohort in taken.items()},
        "standard scores, the model's": {kind: standard(cohort) for kind, cohort in model.items()},
        "standard scores, as a search takes them": {kind: standard(cohort) for kind, cohort in taken.items()},
    }


def mixed(
    calibration: ScoreCalibration, images: Vectors, texts: Vectors, queries: Vectors, owners: NDArray[np.int64]
) -> list[Any]:
    """Both right answers among the first ten, by size of the index and by what hits are ranked by."""
    random, rows = np.random.default_rng(0), []
    for count_images, count_texts in SIZES:
        photo_rows, text_rows = (random.permutation(len(images))[:count] for count in (count_images, count_texts))
        small, large = sorted((photo_rows, text_rows), key=len)
        large[: len(small)] = small  # every query's photo and text are both there
        large[len(small) :] = np.setdiff1d(random.permutation(len(images)), small, assume_unique=True)[
            : len(large) - len(small)
        ]
        asked = np.flatnonzero(np.isin(owners, small))[:QUERIES]
        for name, kinds in ways(calibration, images[photo_rows], texts[text_rows]).items():
            scores = np.concatenate(
                [kinds["image"](queries[asked], images[photo_rows]), kinds["text"](queries[asked], texts[text_rows])],
                axis=1,
            )
            first = np.argsort(-scores, axis=1)[:, :10]
            ids = np.concatenate([photo_rows, text_rows + len(images)])[first]
            own = owners[asked][:, None]
            rows.append(
                {
                    "photos": count_images,
                    "texts": count_texts,
                    "ranked_by": name,
                    "photo": round(100 * float((ids == own).any(axis=1).mean()), 1),
                    "text": round(100 * float((ids == own + len(images)).any(axis=1).mean()), 1),
                }
            )
    return rows


def measure(encoder: Encoder, calibration: ScoreCalibration, data: Path) -> dict[str, Any]:
    """All figures."""
    photos = read_pack(data, FLICKR).photos
    images = encoder.encode_image([photo.image for photo in photos])
    english, owners = captions_of(photos, "en", 5)
    queries = encoder.encode_text(english)
    others = [captions_of(photos, language, 1) for language in OTHERS]
    other_texts = encoder.encode_text([text for texts, _ in others for text in texts])
    other_owners = np.concatenate([whose for _, whose in others])
    numbers = np.arange(len(images))
    chances = {
        "Flickr8k captions, English": told_and_true(calibration, queries, images, owners[:, None] == numbers),
        "Flickr8k captions, 8 others": told_and_true(
            calibration, other_texts, images, other_owners[:, None] == numbers
        ),
    }
    random = np.random.default_rng(1)
    chosen = np.array([random.choice(np.flatnonzero(other_owners == row)) for row in numbers])
    return {
        "chances": chances | name_chances(encoder, calibration, data),
        "mixed": mixed(calibration, images, other_texts[chosen], queries, owners),
    }


def name_chances(encoder: Encoder, calibration: ScoreCalibration, data: Path) -> Mapping[str, Any]:
    """Names of classes among photos that show one of them each."""
    photos = read_pack(data, NAMED).photos
    images = encoder.encode_image([photo.image for photo in photos])
    names, _ = read_names(data, "labels.json.gz", "in1k:")
    shown = np.array([photo.record["label"] for photo in photos])
    found: dict[str, Any] = {}
    for language in NAME_LANGUAGES:
        keys = [key for key in names if language in names[key]]
        texts = encoder.encode_text([names[key][language] for key in keys])
        found[f"998 photos by name, {language}"] = told_and_true(
            calibration, texts, images, np.array(keys)[:, None] == shown
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "reading.json")
    options = parser.parse_args()
    encoder = babelclip.load()
    calibration = encoder.calibration
    assert calibration is not None, "the bundled model has a reading"
    result = {
        "date": now(),
        "commit": describe_origin({}, None, "", 0).commit,
        "model": encoder.name,
        "fitted_on": {"photos": calibration.photos, "texts": calibration.texts},
        **measure(encoder, calibration, options.data),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
