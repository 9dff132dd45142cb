"""The manifest of what a model was made from: every pretrained part, image source and text source with its terms."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import DatasetError


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One source. ``name`` is the ``source`` field of a photo record or of a text row, or a package's name."""

    name: str
    what: str
    origin: str  # repositories and revisions, or a package and its version
    terms: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All sources of a model."""

    pretrained: tuple[Source, ...]
    images: tuple[Source, ...]
    texts: tuple[Source, ...]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest (TOML, tables ``pretrained``, ``images``, ``texts``).

    Raises:
        DatasetError: the file is absent, is no TOML, or an entry lacks a field.
    """
    if not path.is_file():
        raise DatasetError(f"no manifest of sources at {path}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        kinds = [tuple(Source(**entry) for entry in tables[kind]) for kind in ("pretrained", "images", "texts")]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a manifest of sources: {error}") from None
    return Manifest(*kinds)


def check_manifest(manifest: Manifest, image_sources: set[str], text_sources: set[str]) -> None:
    """Every source that is trained on must be in the manifest.

    Raises:
        DatasetError: some are not; they are named.
    """
    missing = image_sources - {source.name for source in manifest.images}
    missing |= text_sources - {source.name for source in manifest.texts}
    if missing:
        raise DatasetError(f"sources without an entry in the manifest: {', '.join(sorted(missing))}. Add their terms")


def notice(name: str, manifest: Manifest) -> str:
    """The text that lies beside the weights: what they were trained on and under which terms."""
    lines = [
        f"{name}: what these weights were made from",
        "",
        "The weights hold no photo and no text, but they were learned from the following. Many of the photos stand",
        "under terms that allow research only, or have no license of their own: whoever uses the weights commercially,",
        "or trains on the same data, should read those terms first. No photo is distributed with the weights.",
        "",
    ]
    for title, sources in (
        ("Pretrained parts", manifest.pretrained),
        ("Images", manifest.images),
        ("Texts", manifest.texts),
    ):
        lines += [title, "-" * len(title)]
        for source in sources:
            lines += [f"* {source.name}: {source.what}", f"  from: {source.origin}", f"  terms: {source.terms}"]
        lines.append("")
    return "\n".join(lines)


def card_toml(card: Mapping[str, object], languages: Sequence[str], manifest: Manifest) -> str:
    """The facts of a model's card as TOML: those that are given, the languages, and what the model is made from."""
    facts = {
        **card,
        "languages": languages,
        "parents": [_line(source) for source in manifest.pretrained],
        "data": [_line(source) for source in (*manifest.images, *manifest.texts)],
    }
    # The strings and lists of strings of JSON are TOML too.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False, indent=2)}\n" for key, value in facts.items())


def _line(source: Source) -> str:
    return f"{source.name}: {source.what}. From {source.origin}. Terms: {source.terms}"
