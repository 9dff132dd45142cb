"""What the classes of a classifier are called in several languages.

A file ``.json`` or ``.json.gz``, in the order of the classifier's logits: {class: {language: name}}, or {class:
{language: [name, ...]}} where several names mean the same.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.decode import parse_json
from babelclip.errors import DatasetError


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Names of a classifier's classes."""

    number: int  # of classes
    by_language: Mapping[str, Mapping[int, Sequence[str]]]  # language -> class number -> names


def read_class_names(path: Path) -> ClassNames:
    """Read a file of names.

    Raises:
        DatasetError: There is none, or it is not of the documented form.
    """
    if not path.is_file():
        raise DatasetError(f"there is no file {path} of class names")
    content = path.read_bytes()
    try:
        classes = parse_json(gzip.decompress(content) if path.suffix == ".gz" else content)
        by_language: dict[str, dict[int, Sequence[str]]] = {}
        for number, names in enumerate(classes.values()):
            for language, name in names.items():
                by_language.setdefault(language, {})[number] = [name] if isinstance(name, str) else list(name)
    except (ValueError, AttributeError, TypeError, EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"{path} is no file of class names, {{class: {{language: name}}}}: {error}") from error
    if not by_language:
        raise DatasetError(f"{path} names no class")
    return ClassNames(len(classes), by_language)
