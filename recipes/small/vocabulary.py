"""A smaller vocabulary out of XLM-R's: pieces are deleted, nothing else changes.

The tokenizer is a unigram model (Kudo 2018): the best split is a shortest path over the scores of the pieces, so a
deleted piece leaves its text to shorter ones and there is no merge table to repair. Ids 0 to 3 stay
``<s> <pad> </s> <unk>`` and ``<mask>`` stays last, as published.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from babelclip.errors import DatasetError

NUM_FIRST_SPECIALS = 4
UNKNOWN = 3
ROWS_PER_LANGUAGE = 6000  # what is counted at most; more does not change which pieces are frequent


@dataclass(frozen=True, slots=True)
class PrunedVocabulary:
    """A tokenizer file's content and the teacher's row of each of its ids."""

    tokenizer_json: str
    kept: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.kept)

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_str(self.tokenizer_json)


@dataclass(frozen=True, slots=True)
class LanguageCheck:
    """What pruning did to one language: share of unknown tokens, and length over the full vocabulary's length."""

    unknown_rate: float
    inflation: float


def whole_tokenizer(pieces: Sequence[tuple[str, float]], like: Path) -> str:
    """``tokenizer.json`` of a whole vocabulary: its pieces with their scores, by token id.

    Args:
        pieces: Of the vocabulary.
        like: A ``tokenizer.json`` of the same tokenizer with fewer pieces; all but the pieces is taken from it.
    """
    return _with_pieces(json.loads(like.read_text(encoding="utf-8")), pieces)


def _with_pieces(document: dict[str, Any], pieces: Sequence[tuple[str, float]]) -> str:
    ids = {piece: token_id for token_id, (piece, _) in enumerate(pieces)}
    document["model"]["vocab"] = pieces
    for token in document["added_tokens"]:
        token["id"] = ids[token["content"]]
    document["truncation"] = document["padding"] = None
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def encode_ids(tokenizer: Tokenizer, texts: Sequence[str], chunk: int = 20000) -> Iterable[list[int]]:
    """Token ids of texts, without specials, uncut."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for start in range(0, len(texts), chunk):
        for encoding in tokenizer.encode_batch_fast(list(texts[start : start + chunk]), add_special_tokens=False):
            yield encoding.ids


def count_pieces(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> dict[str, Counter[int]]:
    """(language, text) pairs -> language -> how often each piece occurs, in a random part of a large language."""
    by_language: dict[str, list[str]] = defaultdict(list)
    for language, text in texts:
        by_language[language].append(text)
    counts: dict[str, Counter[int]] = {}
    generator = random.Random(0)
    for language, lines in by_language.items():
        part = generator.sample(lines, min(len(lines), ROWS_PER_LANGUAGE))
        counter: Counter[int] = Counter()
        for ids in encode_ids(tokenizer, part):
            counter.update(ids)
        counts[language] = counter
    return counts


def choose_pieces(
    vocabulary: Sequence[tuple[str, float]],
    counts: Mapping[str, Counter[int]],
    *,
    size: int,
    floor: int = 100,
    characters: int = 8000,
) -> list[int]:
    """The ids to keep, ascending: single characters (coverage), each language's most frequent, then by score.

    Args:
        vocabulary: (piece, score) by id, as in ``tokenizer.json``; a score is the log-probability of a piece in what
            XLM-R read, a hundred languages of the web. It decides rather than counts in our texts, for people search
            for what our texts do not mention (lab/LOG.md: at one size, the teacher's own vectors suffer far less).
        counts: How often each piece occurs, by language.
        size: How many are kept.
        floor: How many of each language's most frequent.
        characters: How many single-character pieces are kept at least, all those that occur and then the best, so that
            text unlike the corpus rarely becomes ``<unk>``.

    Raises:
        DatasetError: coverage alone takes more than ``size``.
    """
    last = len(vocabulary) - 1
    ordinary = range(NUM_FIRST_SPECIALS, last)
    seen = set().union(*counts.values())
    best_first = sorted(ordinary, key=lambda i: -vocabulary[i][1])
    singles = [i for i in best_first if len(vocabulary[i][0]) == 1]
    occurring = [i for i in singles if i in seen]
    others = [i for i in singles if i not in seen]
    keep = {*range(NUM_FIRST_SPECIALS), last, *occurring, *others[: max(0, characters - len(occurring))]}
    for counter in counts.values():
        keep.update(piece for piece, _ in counter.most_common(floor))
    if len(keep) > size:
        raise DatasetError(f"{len(keep)} pieces must be kept for coverage; a vocabulary of {size} is too small")
    keep.update([i for i in best_first if i not in keep][: size - len(keep)])
    return sorted(keep)


def prune(tokenizer_json: str, kept: Sequence[int]) -> PrunedVocabulary:
    """The same tokenizer with only the kept pieces, ids renumbered in order, and no truncation or padding."""
    document: dict[str, Any] = json.loads(tokenizer_json)
    vocabulary = document["model"]["vocab"]
    return PrunedVocabulary(_with_pieces(document, [vocabulary[i] for i in kept]), tuple(kept))


def prune_for(tokenizer_json: str, texts: Iterable[tuple[str, str]], size: int) -> PrunedVocabulary:
    """Prune to ``size`` pieces for (language, text) pairs."""
    vocabulary = [(str(piece), float(score)) for piece, score in json.loads(tokenizer_json)["model"]["vocab"]]
    counts = count_pieces(Tokenizer.from_str(tokenizer_json), texts)
    return prune(tokenizer_json, choose_pieces(vocabulary, counts, size=size))


def check(full: Tokenizer, pruned: Tokenizer, texts: Mapping[str, Sequence[str]]) -> dict[str, LanguageCheck]:
    """Unknown rate and length inflation per language."""
    result: dict[str, LanguageCheck] = {}
    for language, lines in texts.items():
        before = sum(len(ids) for ids in encode_ids(full, lines))
        after = np.concatenate([np.asarray(ids) for ids in encode_ids(pruned, lines)])
        result[language] = LanguageCheck(float((after == UNKNOWN).mean()), len(after) / max(before, 1))
    return result
