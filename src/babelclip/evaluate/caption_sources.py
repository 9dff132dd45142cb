"""Who wrote the captions of a language: people, translators, a machine?

A model that learned from machine translation finds machine-translated captions more easily than what people write, so
the two are reported apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from babelclip.evaluate.read_pack import PackPhoto

_Writer = Literal["human", "human_translation", "machine", "mixed"]
WRITERS: tuple[_Writer, ...] = ("human", "human_translation", "machine", "mixed")
MACHINE_MARKS = ("_mt", "generated")  # in the name of a source
TRANSLATION_MARK = "human_translation"


def written_by(photos: Sequence[PackPhoto], languages: Iterable[str]) -> dict[str, list[str]]:
    """``captions_<writer>`` -> languages, for the settings of a task; empty where the records name no sources.

    A language is of one kind when all its captions are; captions of several kinds make it ``mixed``.
    """
    found: dict[str, list[str]] = {}
    for language in languages:
        kinds = {
            writers_of(source)
            for photo in photos
            if photo.captions.get(language)
            for source in photo.record.get("caption_sources", {}).get(language, ())
        }
        if kinds:
            found.setdefault(f"captions_{kinds.pop() if len(kinds) == 1 else 'mixed'}", []).append(language)
    return found


def writers_of(source: str) -> _Writer:
    """By the name of a source, such as ``multi30k_t1_human_translation`` or ``multiscript30k_mt``."""
    if any(mark in source for mark in MACHINE_MARKS):
        return "machine"
    return "human_translation" if source.endswith(TRANSLATION_MARK) else "human"
