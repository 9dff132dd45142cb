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
import io
import tarfile
from pathlib import Path

from babelclip.errors import DatasetError
from babelclip.evaluate.prompts import tidy
from babelclip.evaluate.read_pack import Pack, Photo
from babelclip.evaluate.tar_samples import members
from babelclip.evaluate.task import DataFile, Task
from babelclip.evaluate.tasks.crossmodal import CrossmodalRetrieval
from babelclip.evaluate.tasks.names import NameRecognition

TYPE, CLASSES, TEMPLATES = "dataset_type.txt", "classnames.txt", "zeroshot_classification_templates.txt"


def open_clip_benchmark(folder: Path, language: str = "en", split: str = "test") -> Task:
    """Retrieval or recognition by name over a set; ``language`` is that of its captions or names.

    Raises:
        DatasetError: a file is absent or not as documented, or the set is of a kind that is not measured here.
    """
    kind = _lines(folder / TYPE)[0] if (folder / TYPE).is_file() else "classification"
    if kind not in ("retrieval", "classification"):
        raise DatasetError(f"{folder / TYPE} says {kind!r}; expected 'retrieval', or no such file for classification")
    pack = _read_shards(folder, split, "txt" if kind == "retrieval" else "cls", language)
    if kind == "retrieval":
        return CrossmodalRetrieval(folder.name, pack)
    names = {str(number): {language: name} for number, name in enumerate(_lines(folder / CLASSES))}
    templates = list(dict.fromkeys(tidy(line) for line in _lines(folder / TEMPLATES)))
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong:
        raise DatasetError(f"{folder / TEMPLATES}: expected one {{c}} in each template, found {wrong[0]!r}")
    files = [_data_file(folder, name, (folder / name).read_bytes()) for name in (CLASSES, TEMPLATES)]
    return NameRecognition(folder.name, pack, names, {language: templates}, files=files)


def _read_shards(folder: Path, split: str, wanted: str, language: str) -> Pack:
    count = _lines(folder / split / "nshards.txt")[0]
    if not count.isdigit():
        raise DatasetError(f"{folder / split / 'nshards.txt'}: expected a number, found {count!r}")
    files: list[DataFile] = []
    photos: list[Photo] = []
    for number in range(int(count)):
        path = folder / split / f"{number}.tar"
        try:
            content = path.read_bytes()
            photos += _read_shard(path, content, wanted, language)
        except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} is no readable shard: {error}") from error
        files.append(_data_file(folder, f"{split}/{number}.tar", content))
    if not photos:
        raise DatasetError(f"{folder / split} has no photos")
    return Pack(tuple(files), tuple(photos))


def _read_shard(path: Path, content: bytes, wanted: str, language: str) -> list[Photo]:
    images: dict[str, bytes] = {}
    notes: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in members(archive):
            if member.is_image:
                images[member.key] = member.read()
            elif member.suffix == f".{wanted}":
                notes[member.key] = member.read().decode()
    alone = sorted(images.keys() ^ notes.keys())
    if alone:
        raise DatasetError(
            f"{path}: expected an image and a .{wanted} for every key; {alone[0]!r} has only one of them"
        )
    if wanted == "cls":
        return [Photo(key, image, {"label": notes[key].strip()}) for key, image in images.items()]
    captions = {key: [line.strip() for line in note.splitlines() if line.strip()] for key, note in notes.items()}
    return [Photo(key, image, {"captions": {language: captions[key]}}) for key, image in images.items()]


def _lines(path: Path) -> list[str]:
    """What the file says, line by line, blank lines left out."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DatasetError(f"expected {path} of a set in CLIP_benchmark's layout: {error.strerror}") from error
    if not lines:
        raise DatasetError(f"{path} is empty")
    return lines


def _data_file(folder: Path, path: str, content: bytes) -> DataFile:
    return DataFile(f"{folder.name}/{path}", hashlib.sha256(content).hexdigest())
