"""The examples of docs/clients beyond one call: another process, long lists, odd texts, twenty at once.

The code is the page's own, with other texts in it; other widths and types are in ``test_widths_and_types.py``, what a
process forgets in ``test_forgotten_settings.py``. A text over the model's limit is cut where the server is told
``--truncate``; some clients cannot ask for it.
"""

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

sys.path.insert(0, str(Path(__file__).parents[1] / "journeys"))
sys.path.insert(0, str(Path(__file__).parent))
from environments import ROOT, environment
from test_clients import CLIENTS, JS_END, PYTHON_END, SHOWN, run

from serving import server

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")]
SHOWN_TEXTS = '["a bridge at dawn", "黎明的桥"]'
MANY = [*(f"text {number}" for number in range(598)), "word " * 2000, "the last"]
AT_ONCE = 20
ONE_BY_ONE = {"agno"}  # a request for each text
JS_CALL = "const { embeddings: texts } = await embedMany("
ASKS_FOR_ERRORS = {"vercel-ai"}  # it sends truncate: false unless it is told otherwise, as its page says


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--truncate", "--log", "none") as (_, client):
        yield str(client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return babelclip.load()


def example(client: str, address: str, texts: list[str]) -> str:
    """The page's code for other texts, without its images."""
    page = (ROOT / "docs" / "clients" / f"{client}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```(?:python|js)\n(.*?)```", page, flags=re.DOTALL)
    code = code.replace(SHOWN, address)
    if client == "voyage":
        return code.replace('[["a bridge at dawn"], ["黎明的桥"]]', json.dumps([[text] for text in texts]))
    if client == "haystack":
        made = f"[Document(content=each) for each in {json.dumps(texts)}]"
        return code.replace('[Document(content="a bridge at dawn"), Document(content="黎明的桥")]', made)
    assert SHOWN_TEXTS in code
    return code.replace(SHOWN_TEXTS, json.dumps(texts))


def vectors(client: str, code: str, folder: Path) -> np.ndarray:
    found = run(client, environment(client), code + (JS_END if client == "vercel-ai" else PYTHON_END), folder)
    return np.array(json.loads(found)[0], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "bridge.jpg")
    return tmp_path


@pytest.mark.parametrize("client", CLIENTS)
def test_more_than_512_a_long_one_and_an_empty_one(client: str, address: str, encoder: Encoder, folder: Path) -> None:
    texts = MANY[-40:] if client in ONE_BY_ONE else MANY
    if client in ASKS_FOR_ERRORS:
        texts = [text for text in texts if len(text) < 1000]
    assert np.allclose(vectors(client, example(client, address, texts), folder), encoder.encode_text(texts), atol=1e-4)
    if client != "agno":  # it refuses an empty text before it sends one
        again = vectors(client, example(client, address, ["", "a dog"]), folder)  # a process of its own
        assert np.allclose(again, encoder.encode_text(["", "a dog"]), atol=1e-4)


@pytest.mark.parametrize("client", CLIENTS)
def test_twenty_at_once(client: str, address: str, encoder: Encoder, folder: Path) -> None:
    if client == "vercel-ai":
        program = example(client, address, ["a dog"]).replace(JS_CALL, "const once = () => embedMany(")
        program += f"const all = await Promise.all(Array.from({{ length: {AT_ONCE} }}, once));\n"
        program += "const texts = all.map((each) => each.embeddings[0]);\n"
    else:
        program = f"""
from concurrent.futures import ThreadPoolExecutor
CODE = {example(client, address, ["a dog"])!r}
def once(_):
    own = {{}}
    exec(CODE, own)
    return own["texts"][0]
once(0)
texts = list(ThreadPoolExecutor({AT_ONCE}).map(once, range({AT_ONCE})))
"""
    found = vectors(client, program, folder)
    assert np.allclose(found, np.repeat(encoder.encode_text(["a dog"]), AT_ONCE, axis=0), atol=1e-4)
