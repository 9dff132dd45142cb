"""A broken or hostile file of a model folder gives a sentence, whichever it is and whatever is wrong with it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from babelclip.bundled import bundled_folder
from babelclip.checkpoint.fetch import _shards
from babelclip.checkpoint.folder import WEIGHTS, WEIGHTS_INDEX, read_folder
from babelclip.checkpoint.weights import read_header
from babelclip.errors import BabelclipError
from babelclip.prepare.text import TextPreparer
from babelclip.runtime.exported import read_graph_manifest
from babelclip.score_calibration import read_calibration

CONTENTS = {
    "nothing": b"",
    "NUL": b"\0",
    "null": b"null",
    "list": b"[]",
    "number": b"7",
    "text": b'"x"',
    "empty table": b"{}",
    "cut": b'{"a": ',
    "deep lists": b"[" * 100_000,
    "deep tables": b'{"a":' * 50_000,
    "no Unicode": b"\xff\xfe{}",
    "NaN": b"NaN",
    "long number": b"9" * 5000,
    "BOM": b"\xef\xbb\xbf{}",
}
FILES = sorted(path.name for path in bundled_folder().iterdir() if path.suffix in (".json", ".safetensors"))


def opened(folder: Path) -> None:
    """All that is read of a folder before its weights are."""
    model = read_folder(folder)
    model.fingerprint()
    model.tensor_index()
    TextPreparer(model.tokenizer_file, model.text_prepare)
    read_calibration(folder, "any")
    read_graph_manifest(folder)


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_a_folder_with_every_content(name: str, tmp_path: Path) -> None:
    for path in bundled_folder().iterdir():
        (tmp_path / path.name).symlink_to(path)
    for content in CONTENTS.values():
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(content)
        try:
            opened(tmp_path)
        except BabelclipError as error:
            assert len(str(error)) < 2000  # noqa: PT017 - what is read late may be right all the same


ENTRY: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
VALUES: list[Any] = [
    None,
    -1,
    "x",
    [],
    {},
    1e999,
    [None],
    ["x"],
    [-1],
    [2**70],
    [0, 2**63],
    [8, 0],
    [-8, 0],
    [0, 8, 16],
]
VALUES += [[0.5, 8], True, [True, 8], "F999", ["F32"], {"a": 1}, [[2]], "F32" * 100]


def headers() -> Iterator[bytes]:
    for content in CONTENTS.values():
        yield struct.pack("<Q", len(content)) + content
    for length in (2**63, 2**64 - 1, 99_999_999, 0):
        yield struct.pack("<Q", length) + b"{}"
    for field, value in product(ENTRY, VALUES):
        content = json.dumps({"a": ENTRY | {field: value}}).encode()
        yield struct.pack("<Q", len(content)) + content + bytes(8)
    for value in VALUES:
        content = json.dumps({"a": value}).encode()
        yield struct.pack("<Q", len(content)) + content + bytes(8)


def test_every_header_of_weights(tmp_path: Path) -> None:
    file, refused = tmp_path / WEIGHTS, 0
    for content in headers():
        file.write_bytes(content)
        try:
            read_header(file)
        except BabelclipError:
            refused += 1
    assert refused > 80


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "", ".", "a\x1bb.safetensors", 7, None, ["x"], {"a": 1}]
)
def test_names_that_an_index_of_weights_states_are_checked(name: object, tmp_path: Path) -> None:
    for path in bundled_folder().iterdir():
        if path.name != WEIGHTS:
            (tmp_path / path.name).symlink_to(path)
    index = tmp_path / WEIGHTS_INDEX
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    for read in (lambda: read_folder(tmp_path), lambda: _shards(index)):
        with pytest.raises(BabelclipError):
            read()
