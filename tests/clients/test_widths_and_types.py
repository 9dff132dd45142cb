"""Another width, another type and a long text by every page's client: what its caller gets is the library's."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import babelclip
from babelclip.encoder import Encoder
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.app import make_app
from babelclip.vectors import quantize

sys.path.insert(0, str(Path(__file__).parent))
from environments import environment
from page_edits import BY_KEY, BY_SERVER, LONG_TEXTS, NONE, TYPES, WIDTHS, Edit
from test_clients import CLIENTS, JS_CATCH, JS_END, PYTHON_CATCH, PYTHON_END, TEXTS, example, run, running

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")]
WIDTH = 64
LONG = "word " * 600
Server = dict[str, str]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return babelclip.load()


@pytest.fixture(scope="module")
def server(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The address, and two keys: ``whole``, and ``narrow`` with a width of its own."""
    with KeyFile(tmp_path_factory.mktemp("keys") / "keys.db", create=True) as keys:
        _, whole = keys.add("whole")
        _, narrow = keys.add("narrow", default_dim=WIDTH)
        with running(make_app(encoder, keys=keys)) as address:
            yield {"address": address, "whole": whole, "narrow": narrow}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "bridge.jpg")
    return tmp_path


def edited(client: str, server: Server, edit: Edit, first: str = TEXTS[0]) -> str:
    """The page's code for texts alone, with the edit and another first text."""
    code = example(client, server["address"], server["narrow" if edit is BY_KEY else "whole"])
    code = re.split(r"^(?:picture|images|embedder = JinaDocumentImage)", code, maxsplit=1, flags=re.MULTILINE)[0]
    for old, new in edit.changes:
        assert old in code, (client, old)
        code = code.replace(old, new, 1)
    return code.replace(TEXTS[0], first)


def result(client: str, code: str, folder: Path) -> np.ndarray:
    found = run(client, environment(client), code + (JS_END if client == "vercel-ai" else PYTHON_END), folder)
    return np.array(json.loads(found)[0])


@pytest.mark.parametrize("client", CLIENTS)
def test_another_width(client: str, server: Server, encoder: Encoder, folder: Path) -> None:
    found = result(client, edited(client, server, WIDTHS[client]), folder)
    assert np.allclose(found, encoder.encode_text(TEXTS, dim=WIDTH), atol=1e-4)


@pytest.mark.parametrize("client", [name for name in CLIENTS if TYPES[name] is not NONE])
def test_another_type(client: str, server: Server, encoder: Encoder, folder: Path) -> None:
    edit, vectors = TYPES[client], encoder.encode_text(TEXTS)
    found = result(client, edited(client, server, edit), folder)
    if edit.numbers == "bits":
        assert np.array_equal(found, vectors > 0)
    elif edit.numbers == "ubinary":
        assert np.array_equal(found, quantize(vectors, "ubinary"))
    else:
        assert np.abs(found - quantize(vectors, "int8")).max() <= 1
        assert np.abs(found).max() > 1


@pytest.mark.parametrize("client", CLIENTS)
def test_a_long_text_is_cut_as_the_table_says_or_an_error(
    client: str, server: Server, encoder: Encoder, folder: Path
) -> None:
    edit = LONG_TEXTS[client]
    code = edited(client, server, edit, LONG)
    if edit is not BY_SERVER:
        assert np.allclose(result(client, code, folder), encoder.encode_text([LONG, TEXTS[1]]), atol=1e-4)
        code = edited(client, server, Edit(""), LONG)
    if edit.changes or edit is BY_SERVER:
        if client == "vercel-ai":
            code = JS_CATCH.format(code=code)
        else:
            code = PYTHON_CATCH.format(code="\n".join(f"    {line}" for line in code.splitlines()))
        assert run(client, environment(client), code, folder) != "no error"
