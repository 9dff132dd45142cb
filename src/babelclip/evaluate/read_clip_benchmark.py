"""A data set in the layout of LAION's CLIP_benchmark, as a task.

::

    set/dataset_type.txt                        "retrieval"; without it, classification
    set/classnames.txt                          a name a line (classification)
    set/zeroshot_classification_templates.txt   a template a line, {c} for the name
    set/test/nshards.txt, 0.tar, 1.tar, ...     <key>.webp (jpg, png, ...) with <key>.cls (number of the class)
                                                or <key>.txt (captions, one a line)
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from babelclip.errors import DatasetError
from babelclip.evaluate.prompts import tidy
from babelclip.evaluate.read_pack import Pack, PackPhoto
from babelclip.evaluate.task import DataFile, Task
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.evaluate.tasks.names import NameRecognition
from babelclip.tar_samples import TarEntry, read_samples

TYPE, CLASSES, TEMPLATES = "dataset_type.txt", "classnames.txt", "zeroshot_classification_templates.txt"
CAPTIONS, CLASS = ".txt", ".cls"


def open_clip_benchmark(folder: Path, language: str = "en", split: str = "test") -> Task:
    """Retrieval or recognition by name over a set; ``language`` is that of its captions or names.

    Raises:
        DatasetError: a file is absent or not as documented, or the set is of a kind that is not measured here.
    """
    kind = _lines(folder / TYPE)[0] if (folder / TYPE).is_file() else "classification"
    if kind not in ("retrieval", "classification"):
        raise DatasetError(
            f"{folder / TYPE} says {kind[:100]!r}; expected 'retrieval', or no such file for classification"
        )
    pack = _read_shards(folder, split, CAPTIONS if kind == "retrieval" else CLASS, language)
    if kind == "retrieval":
        return CrossmodalRetrieval(folder.name, pack)
    names = {str(number): {language: name} for number, name in enumerate(_lines(folder / CLASSES))}
    templates = list(dict.fromkeys(tidy(line) for line in _lines(folder / TEMPLATES)))
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong:
        raise DatasetError(f"{folder / TEMPLATES}: expected one {{c}} in each template, found {wrong[0]!r}")
    files = [_data_file(folder, name) for name in (CLASSES, TEMPLATES)]
    return NameRecognition(folder.name, pack, names, {language: templates}, files=files)


def _read_shards(folder: Path, split: str, suffix: str, language: str) -> Pack:
    count = _lines(folder / split / "nshards.txt")[0]
    if not re.fullmatch(r"[0-9]{1,6}", count):
        raise DatasetError(f"{folder / split / 'nshards.txt'}: expected a number, found {count[:100]!r}")
    names = [f"{split}/{number}.tar" for number in range(int(count))]
    files = [_data_file(folder, name) for name in names]
    samples = (sample for name in names for sample in read_samples(folder / name, (suffix,)))
    photos = tuple(PackPhoto(each.key, each.image.read(), _record(each.note, language)) for each in samples)
    if not photos:
        raise DatasetError(f"{folder / split} has no photos")
    return Pack(tuple(files), photos)


def _record(note: TarEntry, language: str) -> dict[str, Any]:
    if note.suffix == CLASS:
        return {"label": note.text().strip()}
    return {"captions": {language: [line.strip() for line in note.text().splitlines() if line.strip()]}}


def _lines(path: Path) -> list[str]:
    """What the file says, line by line, blank lines left out."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DatasetError(f"expected {path} of a set in CLIP_benchmark's layout: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text in UTF-8: {error}") from error
    if not lines:
        raise DatasetError(f"{path} is empty")
    return lines


def _data_file(folder: Path, path: str) -> DataFile:
    try:
        with (folder / path).open("rb") as file:
            return DataFile(f"{folder.name}/{path}", hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise DatasetError(f"{folder / path} cannot be read: {error.strerror}") from error
