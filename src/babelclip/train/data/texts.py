"""Every text that the text stage learns from, each with the English texts whose teacher vectors are its target.

A translation is pulled to the vector of its English original (Reimers & Gurevych 2020), an English text to its own; a
caption whose English original is not known (several people described one photo) to the mean of the photo's English
captions, which an English caption is pulled to as well. Names stand inside a short prompt too, pulled to the English
prompt's vector.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as parquet

from babelclip.errors import DatasetError
from babelclip.train.data.shards import PhotoRecord

PROMPTS: Mapping[str, str] = {
    "af": "'n foto van 'n {}", "ar": "صورة {}", "az": "{} fotosu", "be": "фатаграфія: {}", "bg": "снимка на {}",
    "bn": "{} এর ছবি", "ca": "una foto de {}", "cs": "fotografie: {}", "cy": "llun o {}",
    "da": "et billede af {}", "de": "ein Foto von {}", "el": "μια φωτογραφία {}", "en": "a photo of a {}",
    "eo": "foto de {}", "es": "una foto de {}", "et": "foto: {}", "eu": "{} baten argazkia", "fa": "عکسی از {}",
    "fi": "valokuva: {}", "fr": "une photo de {}", "ga": "grianghraf de {}", "gl": "unha foto de {}",
    "he": "תמונה של {}", "hi": "{} की तस्वीर", "hr": "fotografija: {}", "hu": "egy fotó: {}",
    "hy": "{} լուսանկար", "id": "foto {}", "is": "mynd af {}", "it": "una foto di {}", "ja": "{}の写真",
    "ka": "{} ფოტო", "kk": "{} суреті", "ko": "{} 사진", "lt": "nuotrauka: {}", "lv": "fotogrāfija: {}",
    "mk": "фотографија од {}", "ml": "{} ചിത്രം", "ms": "gambar {}", "nl": "een foto van een {}",
    "no": "et bilde av {}", "pl": "zdjęcie: {}", "pt": "uma foto de {}", "ro": "o fotografie cu {}",
    "ru": "фотография: {}", "sk": "fotografia: {}", "sl": "fotografija: {}", "sq": "një foto e {}",
    "sr": "фотографија: {}", "sv": "ett foto av {}", "sw": "picha ya {}", "ta": "{} புகைப்படம்",
    "te": "{} ఫోటో", "th": "ภาพถ่ายของ{}", "tl": "larawan ng {}", "tr": "bir {} fotoğrafı",
    "uk": "фотографія: {}", "ur": "{} کی تصویر", "vi": "một bức ảnh về {}", "zh": "一张{}的照片",
}  # fmt: skip
"""One prompt per language, written for this project; the evaluation's prompts are not used in training."""

CONCEPTS = "concept_"
MAX_CHARACTERS = 400  # longer training texts are cut


@dataclass(frozen=True, slots=True)
class Row:
    """One training text. ``targets``: positions in ``Corpus.english`` (their mean is the target)."""

    text: str
    language: str
    group: str
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Two sentences of one language and how alike people found them, 0 to 1."""

    first: str
    second: str
    language: str
    score: float


@dataclass(slots=True)
class Corpus:
    """English texts (each needs a teacher vector), rows that point to them, and scored pairs."""

    english: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    pairs: list[ScoredPair] = field(default_factory=list)
    _position: dict[str, int] = field(default_factory=dict)

    def position(self, english: str) -> int:
        """Where an English text stands, added when it is new."""
        if english not in self._position:
            self._position[english] = len(self.english)
            self.english.append(english)
        return self._position[english]

    def add(self, text: str, language: str, group: str, targets: Iterable[str]) -> None:
        """One row; its targets are given as English texts."""
        positions = tuple(self.position(target) for target in targets)
        self.rows.append(Row(text[:MAX_CHARACTERS], language, group, positions))


def read_corpus(data: Path, records: Iterable[PhotoRecord], held_out: frozenset[str]) -> Corpus:
    """All text of a data folder and of the photos' captions; photos in ``held_out`` (keys) give no rows.

    Their English captions still stand in ``english``: the choice of settings is measured on them.

    Raises: DatasetError when a file of the documented data folder is missing.
    """
    corpus = Corpus()
    add_parallel(corpus, read_columns(data / "text" / "parallel.parquet", ("source", "pid", "lang", "text")))
    records = list(records)
    add_photo_captions(corpus, records, read_extra_captions(data), held_out)
    add_scored_pairs(
        corpus, read_columns(data / "text" / "stsb_train.parquet", ("lang", "sentence1", "sentence2", "score"))
    )
    for record in records:
        if record.key in held_out:
            for caption in record.captions["en"]:
                corpus.position(caption)
    return corpus


def held_out_photos(records: Iterable[PhotoRecord], source: str, share: int) -> frozenset[str]:
    """Every ``share``-th photo of a captioned source by the hash of its key, to choose settings on."""
    photos = (record for record in records if record.source == source and record.captions.get("en"))
    return frozenset(record.key for record in photos if zlib.crc32(record.key.encode()) % share == 0)


def read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """Rows of a parquet file, as tuples of the named columns."""
    if not path.is_file():
        raise DatasetError(
            f"{path} is missing. Set --data or BABELCLIP_DATASETS to the folder that has text/ and train/"
        )
    table = parquet.read_table(path, columns=list(names))
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def read_extra_captions(data: Path) -> dict[str, dict[str, list[str]]]:
    """Photo key -> language -> captions: fuller lists that replace those of the packs."""
    path = data / "text" / "flickr8k_extra_captions.json.gz"
    if not path.is_file():
        raise DatasetError(
            f"{path} is missing. Set --data or BABELCLIP_DATASETS to the folder that has text/ and train/"
        )
    with gzip.open(path) as file:
        extra: dict[str, dict[str, list[str]]] = json.load(file)
    return extra


def add_parallel(corpus: Corpus, rows: Iterable[tuple[object, ...]]) -> None:
    """Translations, pulled to the (first) English text of the same source and pid; names also in prompts."""
    texts: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    for source, pid, language, text in rows:
        texts[str(source), int(str(pid))].append((str(language), str(text)))
    for (source, _), translations in texts.items():
        english = next((text for language, text in translations if language == "en"), None)
        if english is None:
            continue  # nothing to pull to
        is_name = source.startswith(CONCEPTS)
        for language, text in translations:
            corpus.add(text, language, source, [english])
            if is_name and language in PROMPTS:
                prompted = PROMPTS["en"].format(english)
                corpus.add(PROMPTS[language].format(text), language, f"{source}_prompt", [prompted])


def photo_captions(record: PhotoRecord, extra: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    """All captions of a photo by language."""
    fuller = {language: tuple(texts) for language, texts in extra.get(record.key, {}).items()}
    return {**record.captions, **fuller}


def add_photo_captions(
    corpus: Corpus,
    records: Iterable[PhotoRecord],
    extra: Mapping[str, Mapping[str, Sequence[str]]],
    held_out: frozenset[str],
) -> None:
    """Captions of the photos, pulled to the mean of the photo's English captions; English ones also to themselves.

    What only one of five people saw in a photo is what no image tower can know, so it counts for less.
    """
    seen: set[str] = set()
    for record in records:
        captions = photo_captions(record, extra)
        english = captions.get("en", ())
        if record.key in held_out or not english:
            continue
        for language, texts in captions.items():
            for text in texts:
                if record.kind != "caption" and text in seen:
                    continue  # class names repeat from photo to photo
                seen.add(text)
                corpus.add(text, language, "photo_captions", [text, *english] if language == "en" else english)


def add_scored_pairs(corpus: Corpus, rows: Iterable[tuple[object, ...]]) -> None:
    """Sentence pairs with scores. Every language lists the same pairs in the same order, so they are parallel too."""
    by_language: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for language, first, second, score in rows:
        by_language[str(language)].append((str(first), str(second), float(str(score)) / 5.0))
    english = by_language["en"]
    for language, pairs in by_language.items():
        is_parallel = len(pairs) == len(english) and all(a[2] == b[2] for a, b in zip(pairs, english, strict=True))
        for position, (first, second, score) in enumerate(pairs):
            corpus.pairs.append(ScoredPair(first, second, language, score))
            if is_parallel:
                corpus.add(first, language, "stsb", [english[position][0]])
                corpus.add(second, language, "stsb", [english[position][1]])
