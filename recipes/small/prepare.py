"""Make what the small recipe trains on, in forms that any trainer reads, out of our packs and two pretrained parts.

    python recipes/small/prepare.py --data DATA --out PREPARED [--limit 200]

What exists whole is not made again, so a run that was killed is given again and goes on. README.md lists the files.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from babelclip.atomic_write import atomic_folder, atomic_path, write_json, write_text
from babelclip.decode import decode, read_toml
from babelclip.errors import BabelclipError, DatasetError
from babelclip.towers.eva02_vision import Eva02VisionTower
from babelclip.train.data.stored_vectors import StoredVectors, write_stored_vectors
from babelclip.train.linear_map import LinearMap
from classifier import CLASSES, Classifier, class_names, read_shards
from corpus import Corpus, read_corpus, read_table, with_fuller_captions, write_scored_pairs, write_texts
from packs import PhotoRecord, held_out_photos, read_packs, spread
from parts import Say, in_parts
from photos import Names, write_shards
from pretrained import SentenceTeacher, read_efficientnet_lite2, read_sentence_teacher
from sources import Manifest, card_toml, check_manifest, notice, read_manifest
from start import StartSettings, start_model, write_start
from target_space import space_of
from teachers import on_device, teacher_tokenizer, teacher_vectors
from vocabulary import prune_for
from warm_start import start_classes, start_from_pooled

HERE = Path(__file__).resolve().parent
LABELS = "labels.json.gz"
PLAN, PARTS = "prepared.json", "unfinished"
SPACE, TEACHER_VECTORS = "space.npz", "sentence_teacher.npz"
TEXTS_IN_A_PART, PHOTOS_IN_A_PART = 4096, 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """``prepare.toml``."""

    exclude_sources: tuple[str, ...]
    held_out_source: str
    held_out_share: int
    space_strength: float
    start: StartSettings


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read once and used by several steps."""

    records: tuple[PhotoRecord, ...]
    images: Mapping[str, bytes]
    """By a record's id."""
    held_out: frozenset[str]
    names: Names
    corpus: Corpus
    manifest: Manifest


def read_settings(path: Path = HERE / "prepare.toml") -> Settings:
    """The settings.

    Raises:
        ConfigError: a key is unknown or missing, or has a value of another type.
    """
    return decode(Settings, read_toml(path), path.name)


def prepare(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    limit: int | None = None,
    device: str = "cpu",
    say: Say = print,
) -> None:
    """Make everything that is not there yet.

    Args:
        data: The folder with the packs (``train/``), the texts (``text/``) and ``labels.json.gz``.
        out: Where it goes.
        settings: What of it, and how large a model to start from.
        limit: To try: so many photos, spread over all sources, and so many meanings of each group of texts.
        device: What computes, such as ``cuda``.
        say: Takes a line about the progress.

    Raises:
        DatasetError: data or a package are missing, or ``out`` was made otherwise.
    """
    plan = plan_of(data, settings, limit)
    out.mkdir(parents=True, exist_ok=True)
    keep_to_plan(out / PLAN, plan)
    missing = {name: make for name, make in STEPS.items() if not (out / name).exists()}
    if missing:
        say("reading the data")
        run = _Run(out, settings, read_inputs(data, settings, limit), device, say)
    for name, make in missing.items():
        say(f"making {name}")
        make(run, out / name)
    shutil.rmtree(out / PARTS, ignore_errors=True)
    say(f"{out} is complete")


def read_inputs(data: Path, settings: Settings, limit: int | None) -> Inputs:
    """Records, texts and names; that every source has its terms in the manifest is seen to before anything is made.

    Raises:
        DatasetError: something documented is missing.
    """
    names = read_table(data / LABELS)
    packed = tuple(read_packs(data, settings.exclude_sources))
    records = tuple(with_fuller_captions(data, (record for record, _ in packed)))
    held_out = held_out_photos(records, settings.held_out_source, settings.held_out_share)
    chosen = records if limit is None else tuple(spread(records, held_out, limit))
    corpus = read_corpus(data, chosen, held_out, limit)
    manifest = read_manifest(HERE / "training-sources.toml")
    groups = {row.group.removesuffix("_prompt") for row in corpus.rows}
    check_manifest(manifest, {record.source for record in chosen}, groups)
    ids = {record.id for record in chosen}
    images = {record.id: image for record, image in packed if record.id in ids}
    return Inputs(chosen, images, held_out, names, corpus, manifest)


def plan_of(data: Path, settings: Settings, limit: int | None) -> dict[str, Any]:
    """What decides what is made: settings, limit, and the data by their files' names and sizes.

    Raises:
        DatasetError: the data folder is not one.
    """
    absent = [name for name in ("train", "text", LABELS) if not (data / name).exists()]
    if absent:
        raise DatasetError(f"{data} has no {' and no '.join(absent)}. Give --data the folder that has them")
    files = (*sorted((data / "train").iterdir()), *sorted((data / "text").iterdir()), data / LABELS)
    sizes = {file.relative_to(data).as_posix(): file.stat().st_size for file in files}
    return {"settings": asdict(settings), "limit": limit, "data": sizes}


def keep_to_plan(file: Path, plan: dict[str, Any]) -> None:
    """Write down what is made in a folder, or see that it is what was begun there.

    Raises:
        DatasetError: it is not; what differs is named.
    """
    plan = json.loads(json.dumps(plan))
    if not file.is_file():
        write_json(file, plan)
        return
    begun = json.loads(file.read_text(encoding="utf-8"))
    differing = [key for key in plan if plan[key] != begun.get(key)]
    if differing:
        raise DatasetError(
            f"{file.parent} was begun with other {' and '.join(differing)} ({file.name}). "
            "Remove it or choose another --out"
        )


class _Run:
    """The steps: each makes one file or folder of ``out``, whole or not at all."""

    def __init__(self, out: Path, settings: Settings, inputs: Inputs, device: str, say: Say) -> None:
        self.out, self.settings, self.inputs, self.device, self.say = out, settings, inputs, device, say

    @cached_property
    def teacher(self) -> SentenceTeacher:
        return read_sentence_teacher()

    @cached_property
    def tokenizer(self) -> str:
        return teacher_tokenizer(self.teacher)

    @cached_property
    def ask_teacher(self) -> Callable[[Sequence[str]], NDArray[np.float16]]:
        """Texts -> vectors."""
        return partial(teacher_vectors, on_device(self.teacher, self.device), Tokenizer.from_str(self.tokenizer))

    @cached_property
    def space(self) -> LinearMap:
        return LinearMap.read(self.out / SPACE)

    def photos(self, path: Path) -> None:
        inputs = self.inputs
        photos = ((record, inputs.images[record.id]) for record in inputs.records)
        with atomic_folder(path) as unfinished:
            write_shards(unfinished, photos, inputs.names, inputs.held_out)

    def texts(self, path: Path) -> None:
        with atomic_folder(path) as unfinished:
            write_texts(unfinished, self.inputs.corpus)

    def scored_pairs(self, path: Path) -> None:
        with atomic_path(path) as unfinished:
            write_scored_pairs(unfinished, self.inputs.corpus)

    def class_names(self, path: Path) -> None:
        content = json.dumps(class_names(self.inputs.names), ensure_ascii=False, indent=1)
        with atomic_path(path) as unfinished:
            unfinished.write_bytes(gzip.compress(content.encode(), mtime=0))

    def teacher_vectors(self, path: Path) -> None:
        inputs, english = self.inputs, list(self.inputs.corpus.english)
        folder = self.out / PARTS / "sentence_teacher"
        parts = in_parts(folder, "texts", english, self.ask_teacher, size=TEXTS_IN_A_PART, say=self.say)
        vectors, strength = torch.from_numpy(parts).float(), self.settings.space_strength
        if not (self.out / SPACE).is_file():
            space_of(inputs.corpus, vectors, inputs.records, inputs.held_out, strength).write(self.out / SPACE)
        write_stored_vectors(path, english, self.space(vectors).numpy().astype(np.float16))

    def logits(self, path: Path) -> None:
        keys, _, logits = self._judged()
        write_stored_vectors(path, keys, logits)

    def _judged(self) -> tuple[list[str], NDArray[np.float16], NDArray[np.float16]]:
        """The photos' keys, and of each the trunk's features, averaged over the picture, and its logits."""
        samples = read_shards(self.out / "photos")
        classifier = Classifier(read_efficientnet_lite2(), self.settings.start.image_size, self.device)
        folder = self.out / PARTS / "classifier"
        judged = in_parts(folder, "photos", samples, classifier, size=PHOTOS_IN_A_PART, say=self.say)
        return [sample.key for sample in samples], judged[:, :-CLASSES], judged[:, -CLASSES:]

    def start(self, path: Path) -> None:
        settings, corpus = self.settings.start, self.inputs.corpus
        texts = ((row.language, row.text) for row in corpus.rows)
        trunk, vocabulary = read_efficientnet_lite2(), prune_for(self.tokenizer, texts, settings.vocabulary)
        model = start_model(settings, self.teacher, trunk, vocabulary.kept)
        assert isinstance(model.vision, Eva02VisionTower), "the start has such an image tower"
        start_from_pooled(model.vision, *self._photos_and_targets())
        start_classes(model.vision, trunk.classifier_weight, trunk.classifier_bias, self._class_vectors())
        write_start(path, model, settings, vocabulary)

    def _photos_and_targets(self) -> tuple[Tensor, Tensor]:
        """Features of the photos that have English captions and are not held out, and their captions' mean vectors."""
        keys, features, _ = self._judged()
        english = {
            record.key: record.captions["en"]
            for record in self.inputs.records
            if record.captions.get("en") and record.id not in self.inputs.held_out
        }
        chosen = [row for row, key in enumerate(keys) if key in english]
        targets = StoredVectors.read(self.out / TEACHER_VECTORS).means([english[keys[row]] for row in chosen])
        return torch.from_numpy(features[chosen]), F.normalize(targets, dim=1)

    def _class_vectors(self) -> Tensor:
        """What the classes' English names mean: (classes, E)."""
        wordings = [wording for names in class_names(self.inputs.names).values() for wording in names["en"]]
        vectors = self.space(torch.from_numpy(self.ask_teacher(wordings)))
        return vectors.unflatten(0, (CLASSES, -1)).mean(dim=1)

    def card(self, path: Path) -> None:
        card = read_toml(HERE / "card.toml")
        languages = sorted({row.language for row in self.inputs.corpus.rows})
        write_text(path, card_toml(card, languages, self.inputs.manifest))

    def notice(self, path: Path) -> None:
        write_text(path, notice(self.settings.start.name, self.inputs.manifest))


STEPS: Mapping[str, Callable[[_Run, Path], None]] = {
    "photos": _Run.photos,
    "texts": _Run.texts,
    "scored_pairs.parquet": _Run.scored_pairs,
    "class_names.json.gz": _Run.class_names,
    TEACHER_VECTORS: _Run.teacher_vectors,
    "classifier_logits.npz": _Run.logits,
    "start": _Run.start,
    "card.toml": _Run.card,
    "NOTICE": _Run.notice,
}
"""What is made, in this order, and by what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with train/, text/ and labels.json.gz")
    parser.add_argument("--out", type=Path, required=True, help="where the prepared data go")
    parser.add_argument("--limit", type=int, help="only so many photos, and meanings of each group of texts: to try")
    parser.add_argument("--device", default="cpu", help="what computes, such as cuda (default: cpu)")
    given = parser.parse_args(arguments)
    try:
        prepare(given.data, given.out, read_settings(), limit=given.limit, device=given.device)
    except BabelclipError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
