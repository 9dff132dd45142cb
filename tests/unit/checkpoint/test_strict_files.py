"""Each field of each file of a model folder, taken away, misspelled, and of another type, in turn: none is guessed."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.checksums import CHECKSUMS, wrong_checksums
from babelclip.checkpoint.folder import CONFIG, PREPROCESSING
from babelclip.checkpoint.own_config import config_from_json, preprocessing_from_json
from babelclip.checkpoint.published_config import read_image_prepare
from babelclip.errors import BabelclipError
from babelclip.runtime.exported import MANIFEST, read_graph_manifest
from babelclip.score_calibration import CALIBRATION, read_calibration

Path_ = tuple[str | int, ...]
FINGERPRINT = json.loads((bundled_folder() / CALIBRATION).read_text(encoding="utf-8"))["fingerprint"]
FILES = (CONFIG, PREPROCESSING, MANIFEST, CALIBRATION, CHECKSUMS, "preprocessor_config.json")
PUBLISHED = Path(__file__).parents[2] / "fixtures" / "published" / "jina-clip-v2"
OF_NO_CONSEQUENCE = {"auto_map", "image_processor_type", "processor_class"}
"""What the published file says beside what pixels depend on."""
KEYS_ARE_DATA = {(CALIBRATION, ("chances",)), (MANIFEST, ("graphs",)), (CHECKSUMS, ("sha256",))}
"""Tables whose keys are no fields: a width may have no chance, a tower no graph."""


def content(name: str) -> dict[str, Any]:
    """A shipped file, small where it repeats itself."""
    folder = bundled_folder() if name in (CONFIG, PREPROCESSING, MANIFEST, CALIBRATION, CHECKSUMS) else PUBLISHED
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    if name == CALIBRATION:
        found["chances"] = {"64": found["chances"]["64"]}
    if name == CONFIG:
        found["vision"]["patches"]["stages"] = found["vision"]["patches"]["stages"][:1]
        found["text"]["adapters"] = {"tasks": ["query"], "rank": 4, "alpha": 4.0}
    return {key: value for key, value in found.items() if key not in OF_NO_CONSEQUENCE}


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every field, at every depth."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def removed(table: Any, key: str) -> None:
    del table[key]


def misspelled(table: Any, key: str) -> None:
    table[f"{key}s"] = table.pop(key)


def of_another_type(table: Any, key: str | int) -> None:
    table[key] = "text" if isinstance(table[key], dict | list) else {"x": 1}


def true_or_text(table: Any, key: str | int) -> None:
    """Python takes true for a number, and numbers for texts where nobody asks."""
    value = table[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    table[key] = True if is_number else 1 if isinstance(value, str | bool) else [value, value, value, value]


def cases() -> Iterator[Any]:
    for name in FILES:
        whole = content(name)
        for path in places(whole):
            changes: list[Callable[[Any, Any], None]] = [of_another_type, true_or_text]
            if isinstance(path[-1], str) and (name, path[:-1]) not in KEYS_ARE_DATA:
                changes += [removed, misspelled]
            for change in changes:
                yield pytest.param(name, path, change, id=f"{name}-{'.'.join(map(str, path))}-{change.__name__}")


def read(name: str, found: dict[str, Any], folder: Path) -> None:
    """What opening a folder, or verifying it, makes of a file."""
    if name == CONFIG:
        config_from_json(found)
    elif name == PREPROCESSING:
        preprocessing_from_json(found)
    elif name == "preprocessor_config.json":
        read_image_prepare(found, found["size"] if isinstance(found.get("size"), int) else 512)
    else:
        (folder / name).write_text(json.dumps(found), encoding="utf-8")
        if name == MANIFEST:
            read_graph_manifest(folder)
        elif name == CALIBRATION:
            read_calibration(folder, FINGERPRINT)
        else:
            wrong_checksums(folder)


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(name: str, tmp_path: Path) -> None:
    """Else the table below would prove nothing."""
    read(name, content(name), tmp_path)


@pytest.mark.parametrize(("name", "path", "change"), list(cases()))
def test_each_field_counts(name: str, path: Path_, change: Callable[[Any, Any], None], tmp_path: Path) -> None:
    found = copy.deepcopy(content(name))
    *_, key = path
    change(at(found, path[:-1]), key)
    with pytest.raises(BabelclipError) as caught:
        read(name, found, tmp_path)
    named = next(str(part) for part in reversed(path) if isinstance(part, str))
    assert named in str(caught.value), caught.value


@pytest.mark.parametrize("change", [removed, misspelled])
@pytest.mark.parametrize("listed", [CONFIG, PREPROCESSING, "tokenizer.json", "model.safetensors", CALIBRATION])
def test_each_file_is_listed(listed: str, change: Callable[[Any, Any], None], tmp_path: Path) -> None:
    for file in bundled_folder().iterdir():
        (tmp_path / file.name).symlink_to(file) if file.name != CHECKSUMS else shutil.copy(file, tmp_path)
    assert wrong_checksums(tmp_path) == []
    found = content(CHECKSUMS)
    change(found["sha256"], listed)
    (tmp_path / CHECKSUMS).write_text(json.dumps(found), encoding="utf-8")
    assert f"{listed} is not listed" in wrong_checksums(tmp_path)
