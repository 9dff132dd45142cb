"""What a client does where its address was forgotten: the page says where the texts go then.

The page's own example runs without the address, and the first name that it looks up is what its page has to name. What
a client stores of itself is made in one process and used in another.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from environments import ROOT, environment
from test_clients import CLIENTS, SHOWN, run

pytestmark = pytest.mark.clients
LOOKED_UP = """
import os, socket
def record(host, *_, **__):
    if host not in ("127.0.0.1", "localhost", None):
        print("RESULT", host if isinstance(host, str) else host.decode(), flush=True)
        os._exit(0)
    raise OSError("no network")
socket.getaddrinfo = record
"""
LOOKED_UP_JS = """
globalThis.fetch = async (url) => {
  console.log("RESULT", new URL(url).host);
  process.exit(0);
};
"""


def page(client: str) -> str:
    return (ROOT / "docs" / "clients" / f"{client}.md").read_text(encoding="utf-8")


def without_address(client: str) -> str:
    """The page's code as somebody writes it who has forgotten the address."""
    (code,) = re.findall(r"```(?:python|js)\n(.*?)```", page(client), flags=re.DOTALL)
    address = rf'"{re.escape(SHOWN)}[^"]*"'
    code = re.sub(rf"^[\w.]+ = {address}\n", "", code, flags=re.MULTILINE)
    code = re.sub(rf'"?\w+"?\s*[:=]\s*{address},?\s*', "", code)
    assert SHOWN not in code
    return code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "bridge.jpg")
    return tmp_path


@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_says_where_texts_go_without_the_address(client: str, folder: Path) -> None:
    before = LOOKED_UP_JS if client == "vercel-ai" else LOOKED_UP
    code = without_address(client)
    host = run(client, environment(client), before + code, folder)
    assert "." in host
    assert host in page(client), f"without the address, {client} sends texts to {host}, and its page does not say so"


ADDRESS = "http://127.0.0.1:9/v1/embeddings"
HAYSTACK = """
from haystack import Pipeline
from haystack.utils import Secret
from haystack_integrations.components.embedders import jina
"""
STORED: dict[str, tuple[str, str, str]] = {
    "chroma": (
        f"""
import chromadb
from chromadb.utils.embedding_functions import JinaEmbeddingFunction
function = JinaEmbeddingFunction(api_key="any", model_name="babelclip-small")
function._api_url = "{ADDRESS}"
made = chromadb.PersistentClient("db").create_collection("photos", embedding_function=function)
made.add(ids=["1"], embeddings=[[1.0] * 384])
print("RESULT", function._api_url)
""",
        """
import chromadb
print("RESULT", type(chromadb.PersistentClient("db").get_collection("photos")._embedding_function).__name__)
""",
        "DefaultEmbeddingFunction",
    ),
    "haystack": (
        HAYSTACK
        + f"""
names = ("JinaTextEmbedder", "JinaDocumentEmbedder", "JinaDocumentImageEmbedder")
pipeline = Pipeline()
for name in names:
    secret = Secret.from_env_var("JINA_API_KEY", strict=False)
    pipeline.add_component(name, getattr(jina, name)(base_url="{ADDRESS}", model="m", api_key=secret))
open("stored.yaml", "w").write(pipeline.dumps())
try:
    Secret.from_token("any").to_dict()
except ValueError:
    print("RESULT", "{ADDRESS}")
""",
        HAYSTACK
        + """
import os
os.environ["JINA_API_KEY"] = "any"
pipeline = Pipeline.loads(open("stored.yaml").read())
addresses = {pipeline.get_component(name).base_url for name in pipeline.graph.nodes}
print("RESULT", *addresses)
""",
        ADDRESS,
    ),
    "langchain": (
        f"""
import pickle
from langchain_community.embeddings import jina
jina.JINA_API_URL = "{ADDRESS}"
pickle.dump(jina.JinaEmbeddings(jina_api_key="any"), open("stored", "wb"))
print("RESULT", jina.JINA_API_URL)
""",
        """
import pickle
pickle.load(open("stored", "rb"))
from langchain_community.embeddings import jina
print("RESULT", jina.JINA_API_URL)
""",
        "api.jina.ai",
    ),
    "llama-index": (
        f"""
import json, pickle
from llama_index.embeddings.jinaai import JinaEmbedding
embedding = JinaEmbedding(api_key="any", model="m")
embedding._api.api_url = "{ADDRESS}"
json.dump(embedding.to_dict(), open("stored.json", "w"))
pickle.dump(embedding, open("stored", "wb"))
print("RESULT", embedding._api.api_url)
""",
        """
import json, pickle
from llama_index.embeddings.jinaai import JinaEmbedding
copies = JinaEmbedding.from_dict(json.load(open("stored.json"))), pickle.load(open("stored", "rb"))
addresses = {copy._api.api_url for copy in copies}
print("RESULT", *addresses)
""",
        "api.jina.ai",
    ),
    "milvus": (
        f"""
from pymilvus.model.dense import jinaai
jinaai.API_URL = "{ADDRESS}"
print("RESULT", jinaai.API_URL)
""",
        """
from pymilvus.model.dense import jinaai
print("RESULT", jinaai.API_URL)
""",
        "api.jina.ai",
    ),
}
"""What one process stores, what another finds, and what that is: the address, or where it goes instead."""
VARIABLES = {
    "cohere": ("CO_API_URL", "import cohere\nprint('RESULT', cohere.ClientV2('any')._client_wrapper.get_base_url())"),
    "openai": ("OPENAI_BASE_URL", "from openai import OpenAI\nprint('RESULT', OpenAI(api_key='any').base_url)"),
}


@pytest.mark.parametrize("client", STORED)
def test_what_another_process_finds_of_what_was_stored(client: str, folder: Path) -> None:
    first, second, found = STORED[client]
    assert run(client, environment(client), first, folder) == ADDRESS
    assert found in run(client, environment(client), second, folder)
    if found == ADDRESS:
        assert "keeps the address" in page(client)
    else:
        assert "another process" in page(client)


@pytest.mark.parametrize("client", VARIABLES)
def test_a_variable_that_a_page_names_sets_the_address(client: str, folder: Path) -> None:
    name, code = VARIABLES[client]
    assert f"`{name}`" in page(client)
    set_it = f"import os\nos.environ[{name!r}] = {ADDRESS!r}\n"
    assert ADDRESS in run(client, environment(client), set_it + code, folder)
