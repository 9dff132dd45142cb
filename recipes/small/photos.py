"""The photos as shards that any trainer reads: an image, and of the same key a record with captions and label.

One folder a source, so that a recipe can weigh sources. Photos without captions, and captioned ones that are held out,
are folders of their own: ``<source>_plain`` and ``<source>_held_out``.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from packs import PhotoRecord
from prompts import PROMPTS

Names = Mapping[str, Mapping[str, str]]
"""Label -> language -> name."""

PSEUDO_LANGUAGES = frozenset({"en_alt"})
LANGUAGES_OF_A_NAME = 14  # besides English, another choice for each label: the text tower has to encode them all
WORDS_IN_A_PROMPT = 5  # a longer name is a description and stands alone


def captions_of(record: PhotoRecord, names: Names) -> dict[str, list[str]]:
    """Captions of a photo, or the name of its label in English and some other languages, plain and in a prompt."""
    if record.kind == "caption":
        return {language: list(texts) for language, texts in record.captions.items()}
    named = {language: texts[0] for language, texts in record.captions.items() if language == "en" and texts}
    translated = {k: name for k, name in names.get(record.label or "", {}).items() if k not in PSEUDO_LANGUAGES}
    generator = random.Random(record.label)
    chosen = generator.sample(sorted(translated), min(LANGUAGES_OF_A_NAME, len(translated)))
    named |= {language: translated[language] for language in chosen}
    return {language: wordings(name, language) for language, name in named.items()}


def wordings(name: str, language: str) -> list[str]:
    """A name alone, and in its language's prompt."""
    prompted = language in PROMPTS and len(name.split()) <= WORDS_IN_A_PROMPT
    return [name, PROMPTS[language].format(name)] if prompted else [name]


def meaning_of(record: PhotoRecord) -> str | None:
    """What photos of one thing share, whatever set they come from: the label's English name."""
    english = record.captions.get("en", ())
    return english[0].lower() if record.kind != "caption" and english else None


def folder_of(record: PhotoRecord, held_out: frozenset[str]) -> str:
    """Name of the folder that a photo goes to."""
    if record.id in held_out:
        return f"{record.source}_held_out"
    return record.source if record.captions else f"{record.source}_plain"


def write_shards(
    folder: Path, photos: Iterable[tuple[PhotoRecord, bytes]], names: Names, held_out: frozenset[str]
) -> None:
    """``<source>/00000.tar`` for every source."""
    with ExitStack() as stack:
        shards: dict[str, tarfile.TarFile] = {}
        for record, image in photos:
            source = folder_of(record, held_out)
            if source not in shards:
                (folder / source).mkdir()
                shards[source] = stack.enter_context(tarfile.open(folder / source / "00000.tar", "w"))
            fields: dict[str, object] = {"captions": captions_of(record, names)}
            label = meaning_of(record)
            if label is not None:
                fields["label"] = label
            fields |= {"id": record.id, "source": record.source, "license": record.license}
            _add(shards[source], f"{record.key}.webp", image)
            _add(shards[source], f"{record.key}.json", json.dumps(fields, ensure_ascii=False).encode())


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
