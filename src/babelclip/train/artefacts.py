"""What a run computes once and keeps in its output folder: vocabulary, token ids, teacher vectors, the space.

Each is computed when its file is absent and read otherwise, so an interrupted run loses none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.errors import DatasetError
from babelclip.train.data.batches import TokenTable, tokenise
from babelclip.train.data.shards import PhotoRecord
from babelclip.train.data.texts import Corpus
from babelclip.train.pretrained import SentenceTeacher
from babelclip.train.target_space import TargetSpace, fit_target_space
from babelclip.train.teacher import teacher_vectors
from babelclip.train.vocabulary import PrunedVocabulary, prune_for

Say = Callable[[str], None]
SAMPLE_OF_KIND = 2000  # about how many texts of each kind a fresh space is turned by


def digest(texts: Sequence[str]) -> str:
    """Short digest of a list of texts, to tell whether stored arrays belong to them."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(text.encode() + b"\0")
    return whole.hexdigest()[:16]


def pruned_vocabulary(folder: Path, tokenizer_json: str, corpus: Corpus, size: int, say: Say) -> PrunedVocabulary:
    """``tokenizer.json`` and ``kept.json``."""
    tokenizer_file, kept_file = folder / "tokenizer.json", folder / "kept.json"
    if kept_file.is_file():
        kept = json.loads(kept_file.read_text())
        if len(kept) == size:
            return PrunedVocabulary(tokenizer_file.read_text(), tuple(kept))
    say(f"pruning the vocabulary to {size} pieces")
    vocabulary = prune_for(tokenizer_json, ((row.language, row.text) for row in corpus.rows), size)
    tokenizer_file.write_text(vocabulary.tokenizer_json)
    kept_file.write_text(json.dumps(vocabulary.kept))
    return vocabulary


def token_table(folder: Path, tokenizer: Tokenizer, corpus: Corpus, say: Say) -> TokenTable:
    """``tokens-<digest>.npz``: every row of the corpus, tokenised."""
    texts = [row.text for row in corpus.rows]
    file = folder / f"tokens-{digest([tokenizer.to_str(), *texts])}.npz"
    if not file.is_file():
        say(f"tokenising {len(texts)} texts")
        tokenise(tokenizer, texts).write(file)
    return TokenTable.read(file)


def english_vectors(folder: Path, teacher: SentenceTeacher, tokenizer: Tokenizer, corpus: Corpus, say: Say) -> Tensor:
    """``teacher-<digest>.npy``: the teacher's vectors of the corpus' English texts, float32 (N, E)."""
    file = folder / f"teacher-{digest(corpus.english)}.npy"
    if not file.is_file():
        say(f"asking the teacher for {len(corpus.english)} vectors")
        vectors = teacher_vectors(teacher, tokenizer, corpus.english)
        unfinished = file.with_suffix(".unfinished.npy")
        np.save(unfinished, vectors)
        os.replace(unfinished, file)
    return torch.from_numpy(np.load(file)).float()


def target_space(
    folder: Path,
    corpus: Corpus,
    vectors: Tensor,
    records: Sequence[PhotoRecord],
    held_out: frozenset[str],
    strength: float,
    turn: Callable[[TargetSpace, Tensor, Sequence[str]], TargetSpace] | None = None,
) -> TargetSpace:
    """``space.pt``: the space, fitted on captions, names, prompted names and sentences in like shares.

    It is kept because its axes are eigenvectors: another number of threads may turn their signs round, and a run that
    is resumed has to go on in the space that it began in. ``turn`` rotates a fresh space, given some English texts and
    their teacher vectors (``babelclip.train.start_from``).

    Raises: DatasetError when one of these kinds has no English text.
    """
    file = folder / "space.pt"
    if file.is_file():
        return TargetSpace(*torch.load(file, weights_only=True))
    kinds = {
        "captions": ("multi30k_captions", "photo_captions"),
        "names": ("concept_imagenet", "concept_emoji_cldr", "concept_territory_cldr"),
        "prompted names": ("concept_imagenet_prompt", "concept_emoji_cldr_prompt", "concept_territory_cldr_prompt"),
        "sentences": ("ntrex", "sib200_flores", "udhr"),
    }
    samples: list[Tensor] = []
    places_of: list[int] = []
    for kind, groups in kinds.items():
        places = {row.targets[0] for row in corpus.rows if row.language == "en" and row.group in groups}
        if not places:
            raise DatasetError(f"no English {kind} in the training texts (groups {', '.join(groups)})")
        samples.append(vectors[sorted(places)])
        places_of.extend(sorted(places)[:: max(1, len(places) // SAMPLE_OF_KIND)])
    within, groups_of = _captions_by_photo(corpus, records, held_out)
    space = fit_target_space(samples, groups_of, vectors[within], strength=strength)
    if turn is not None:
        space = turn(space, vectors[places_of], [corpus.english[place] for place in places_of])
    torch.save((space.mean, space.matrix), file)
    return space


def _captions_by_photo(
    corpus: Corpus, records: Sequence[PhotoRecord], held_out: frozenset[str]
) -> tuple[list[int], Tensor]:
    """Positions of the English captions of photos that have four or more, and the number of each one's photo."""
    places: list[int] = []
    owners: list[int] = []
    for number, record in enumerate(records):
        english = record.captions.get("en", ())
        if record.kind == "caption" and record.key not in held_out and len(english) >= 4:
            places.extend(corpus.position(text) for text in english)
            owners.extend([number] * len(english))
    if not places:
        raise DatasetError("no photo has four English captions, which the target space is fitted on")
    return places, torch.tensor(owners)
