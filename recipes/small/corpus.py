"""Every text that the text tower learns from, each with the English texts whose teacher vectors are its target.

A translation is pulled to the vector of its English original (Reimers & Gurevych 2020), an English text to its own; a
caption whose English original is not known (several people described one photo) to the mean of the photo's English
captions, which an English caption is pulled to as well. Names stand inside a short prompt too, pulled to the English
prompt's vector.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from babelclip.errors import DatasetError
from packs import PhotoRecord
from prompts import PROMPTS

CONCEPTS = "concept_"
MAX_CHARACTERS = 400  # longer training texts are cut


@dataclass(frozen=True, slots=True)
class Row:
    """One training text. ``targets``: English texts, whose vectors' mean is the target."""

    text: str
    language: str
    group: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """Two sentences of one language and how alike people found them, 0 to 1."""

    first: str
    second: str
    language: str
    score: float


@dataclass(slots=True)
class Corpus:
    """Rows, scored pairs, and the English texts that need a teacher vector, each once, in the order they came."""

    rows: list[Row] = field(default_factory=list)
    pairs: list[ScoredPair] = field(default_factory=list)
    english: dict[str, None] = field(default_factory=dict)

    def add(self, text: str, language: str, group: str, targets: Sequence[str]) -> None:
        """One row; its targets are given as English texts."""
        self.rows.append(Row(text[:MAX_CHARACTERS], language, group, tuple(targets)))
        self.english.update(dict.fromkeys(targets))


def read_corpus(
    data: Path, records: Sequence[PhotoRecord], held_out: frozenset[str], limit: int | None = None
) -> Corpus:
    """All text of a data folder and of the photos' captions.

    Photos in ``held_out`` (ids) give no rows; their English captions stand in ``english`` all the same, because the
    choice of settings is measured on them.

    Args:
        limit: Of each group of parallel texts and of the scored pairs of a language, no more than so many meanings.

    Raises:
        DatasetError: a file of the documented data folder is missing.
    """
    corpus = Corpus()
    add_parallel(corpus, read_columns(data / "text" / "parallel.parquet", ("source", "pid", "lang", "text")), limit)
    add_photo_captions(corpus, records, held_out)
    pairs = read_columns(data / "text" / "stsb_train.parquet", ("lang", "sentence1", "sentence2", "score"))
    add_scored_pairs(corpus, pairs, limit)
    for record in records:
        if record.id in held_out:
            corpus.english.update(dict.fromkeys(record.captions["en"]))
    return corpus


def read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of a parquet file, as tuples of the named columns.

    Raises:
        DatasetError: there is no such file.
    """
    table = parquet.read_table(_present(path), columns=list(names))
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def read_table(path: Path) -> dict[str, dict[str, Any]]:
    """A gzipped JSON file: key -> language -> what it holds.

    Raises:
        DatasetError: there is no such file.
    """
    with gzip.open(_present(path)) as file:
        table: dict[str, dict[str, Any]] = json.load(file)
    return table


def _present(path: Path) -> Path:
    if not path.is_file():
        raise DatasetError(f"{path} is missing. Give --data the folder that has train/ and text/")
    return path


def with_fuller_captions(data: Path, records: Iterable[PhotoRecord]) -> Iterator[PhotoRecord]:
    """The records with all captions there are: Flickr8k's lists replace those of a record's language, COCO's go on.

    Raises:
        DatasetError: a list is missing.
    """
    replacing = read_table(data / "text" / "flickr8k_extra_captions.json.gz")
    further = read_table(data / "text" / "coco_extra_captions.json.gz")
    for record in records:
        captions = {**record.captions, **{k: tuple(texts) for k, texts in replacing.get(record.id, {}).items()}}
        for language, texts in further.get(record.id, {}).items():
            captions[language] = tuple(dict.fromkeys((*captions.get(language, ()), *texts)))
        yield replace(record, captions=captions)


def add_parallel(corpus: Corpus, rows: Iterable[tuple[Any, ...]], limit: int | None = None) -> None:
    """Translations, pulled to the (first) English text of the same source and pid; names also in prompts."""
    texts: dict[str, dict[int, list[tuple[str, str]]]] = defaultdict(dict)
    for source, pid, language, text in rows:
        meanings = texts[source]
        if pid in meanings or limit is None or len(meanings) < limit:
            meanings.setdefault(pid, []).append((language, text))
    for source, meanings in texts.items():
        for translations in meanings.values():
            _add_translations(corpus, source, translations)


def _add_translations(corpus: Corpus, source: str, translations: Sequence[tuple[str, str]]) -> None:
    english = next((text for language, text in translations if language == "en"), None)
    if english is None:
        return
    is_name = source.startswith(CONCEPTS)
    for language, text in translations:
        corpus.add(text, language, source, [english])
        if is_name and language in PROMPTS:
            prompted = PROMPTS["en"].format(english)
            corpus.add(PROMPTS[language].format(text), language, f"{source}_prompt", [prompted])


def add_photo_captions(corpus: Corpus, records: Iterable[PhotoRecord], held_out: frozenset[str]) -> None:
    """Captions of the photos, pulled to the mean of the photo's English captions; English ones also to themselves.

    What only one of five people saw in a photo is what no image tower can know, so it counts for less.
    """
    seen: set[str] = set()
    for record in records:
        english = record.captions.get("en", ())
        if record.id in held_out or not english:
            continue
        for language, texts in record.captions.items():
            for text in texts:
                if record.kind != "caption" and text in seen:
                    continue  # class names repeat from photo to photo
                seen.add(text)
                corpus.add(text, language, "photo_captions", [text, *english] if language == "en" else english)


def add_scored_pairs(corpus: Corpus, rows: Iterable[tuple[Any, ...]], limit: int | None = None) -> None:
    """Sentence pairs with scores. Every language lists the same pairs in the same order, so they are parallel too."""
    by_language: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for language, first, second, score in rows:
        by_language[language].append((first, second, float(score) / 5.0))
    english = by_language["en"]
    for language, pairs in by_language.items():
        is_parallel = len(pairs) == len(english) and all(a[2] == b[2] for a, b in zip(pairs, english, strict=True))
        for position, (first, second, score) in enumerate(pairs[:limit]):
            corpus.pairs.append(ScoredPair(first, second, language, score))
            if is_parallel:
                corpus.add(first, language, "stsb", [english[position][0]])
                corpus.add(second, language, "stsb", [english[position][1]])


def write_texts(folder: Path, corpus: Corpus) -> None:
    """``<group>.parquet`` for each group: columns text, language, targets (list of English texts)."""
    by_group: dict[str, list[Row]] = defaultdict(list)
    for row in corpus.rows:
        by_group[row.group].append(row)
    for group, rows in by_group.items():
        columns = {
            "text": [row.text for row in rows],
            "language": [row.language for row in rows],
            "targets": [row.targets for row in rows],
        }
        parquet.write_table(pa.table(columns), folder / f"{group}.parquet", compression="zstd")


def write_scored_pairs(path: Path, corpus: Corpus) -> None:
    """One parquet file: columns sentence1, sentence2, score (0 to 1), language."""
    columns = {
        "sentence1": [pair.first for pair in corpus.pairs],
        "sentence2": [pair.second for pair in corpus.pairs],
        "score": [pair.score for pair in corpus.pairs],
        "language": [pair.language for pair in corpus.pairs],
    }
    parquet.write_table(pa.table(columns), path, compression="zstd")
