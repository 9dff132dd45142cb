"""What each parameter of a client's SDK sends: run in the client's environment, with the standard library alone.

    python sdk_probes.py CLIENT http://127.0.0.1:PORT KEY

Prints a line of JSON: the parameters of every call as ``inspect.signature`` reads them, and of each the fields of the
body that differ from those of the plain call. What stays in the client (retries, sessions) is in ``STAYS``.
"""

from __future__ import annotations

import base64
import http.server
import inspect
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

MODEL = "babelclip-small"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
TEXTS = ["a dog", "ein Hund"]
STAYS = {
    "api_base", "api_key", "api_key_env_var", "api_type", "api_version", "base_url", "batch_size", "batching",
    "caching", "callback_manager", "custom_llm_provider", "embed_batch_size", "embedding_separator", "enable_batch",
    "extra_headers", "extra_query", "file_path_meta_field", "headers", "image_size", "jina_api_key", "kwargs",
    "litellm_call_id", "logger_fn", "max_retries", "meta_fields_to_embed", "prefix", "progress_bar",
    "request_options", "root_path", "session", "suffix", "timeout",
}  # fmt: skip
"""Parameters that change nothing in a body, or only its texts."""


@dataclass
class Call:
    """A way to have something sent."""

    signature: Callable[..., Any]
    send: Callable[..., Any]  # takes the parameters of the signature
    plain: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)  # one for each parameter that reaches the body


class Recorder(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the server and keeps their bodies."""

    server_url = ""
    bodies: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        """One request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        Recorder.bodies.append((self.path, json.loads(body)))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
        request = urllib.request.Request(self.server_url + self.path, body, headers)
        try:
            answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def voyage(url: str, key: str) -> dict[str, Call]:
    import voyageai

    client = voyageai.Client(api_key=key, base_url=f"{url}/v1")
    values = {
        "input_type": "query",
        "truncation": False,
        "output_dtype": "int8",
        "output_dimension": 64,
        "model": f"jinaai/{MODEL}",
    }
    return {
        "Client.embed": Call(
            client.embed, client.embed, {"texts": TEXTS, "model": MODEL}, {**values, "texts": TEXTS[:1]}
        ),
        "Client.multimodal_embed": Call(
            client.multimodal_embed,
            client.multimodal_embed,
            {"inputs": [TEXTS[:1]], "model": MODEL},
            {**values, "inputs": [TEXTS]},
        ),
    }


def openai(url: str, key: str) -> dict[str, Call]:
    from openai import OpenAI

    create = OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0).embeddings.create
    values = {"dimensions": 64, "encoding_format": "float", "user": "me", "extra_body": {"task": "retrieval.query"}}
    plain = {"input": TEXTS, "model": MODEL}
    return {
        "embeddings.create": Call(create, create, plain, {**values, "input": TEXTS[:1], "model": f"jinaai/{MODEL}"})
    }


def cohere(url: str, key: str) -> dict[str, Call]:
    import cohere

    embed = cohere.ClientV2(api_key=key, base_url=url).embed
    old = cohere.Client(api_key=key, base_url=url).embed
    image = f"data:image/png;base64,{PIXEL}"
    values = {
        "model": f"jinaai/{MODEL}", "input_type": "search_query", "texts": TEXTS[:1], "images": [image],
        "inputs": [{"content": [{"type": "text", "text": "a dog"}]}], "max_tokens": 3, "output_dimension": 64,
        "embedding_types": ["int8"], "truncate": "NONE", "priority": 3,
    }  # fmt: skip

    def send(function: Callable[..., Any], **sent: Any) -> Any:
        if {"images", "inputs"} & set(sent):
            sent.pop("texts")
        return function(**sent)

    plain = {"model": MODEL, "input_type": "search_document", "texts": TEXTS, "embedding_types": ["float"]}
    also = {name: value for name, value in values.items() if name in inspect.signature(old).parameters}
    untyped = {name: value for name, value in plain.items() if name != "embedding_types"}
    return {
        "ClientV2.embed": Call(embed, partial(send, embed), plain, values),
        "Client.embed": Call(old, partial(send, old), untyped, also),
    }


def langchain(url: str, key: str) -> dict[str, Call]:
    from langchain_community.embeddings import jina

    jina.JINA_API_URL = f"{url}/v1/embeddings"

    def send(**sent: Any) -> Any:
        return jina.JinaEmbeddings(**sent).embed_documents(TEXTS)

    plain = {"model_name": MODEL, "jina_api_key": key}
    return {"JinaEmbeddings": Call(jina.JinaEmbeddings, send, plain, {"model_name": f"jinaai/{MODEL}"})}


def llama_index(url: str, key: str) -> dict[str, Call]:
    from llama_index.embeddings.jinaai import JinaEmbedding

    def send(**sent: Any) -> Any:
        embedding = JinaEmbedding(**sent)
        embedding._api.api_url = f"{url}/v1/embeddings"
        embedding.get_query_embedding("a dog")
        return embedding.get_text_embedding_batch(TEXTS)

    values = {
        "model": f"jinaai/{MODEL}", "encoding_queries": "ubinary", "encoding_documents": "binary",
        "task": "retrieval.query", "dimensions": 64, "late_chunking": True,
    }  # fmt: skip
    return {"JinaEmbedding": Call(JinaEmbedding.__init__, send, {"model": MODEL, "api_key": key}, values)}


def haystack(url: str, key: str) -> dict[str, Call]:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.embedders import jina

    plain = {"model": MODEL, "api_key": Secret.from_token(key), "base_url": f"{url}/v1/embeddings"}
    values = {"model": f"jinaai/{MODEL}", "task": "retrieval.query", "dimensions": 64, "late_chunking": True}
    values["embedding_dimension"] = 64

    def texts(**sent: Any) -> Any:
        return jina.JinaTextEmbedder(**sent).run("a dog")

    def documents(**sent: Any) -> Any:
        return jina.JinaDocumentEmbedder(**sent, progress_bar=False).run([Document(content="a dog")])

    def images(**sent: Any) -> Any:
        with open("pixel.png", "wb") as file:
            file.write(base64.b64decode(PIXEL))
        document = Document(content="", meta={"file_path": "pixel.png"})
        return jina.JinaDocumentImageEmbedder(**sent).run([document])

    ways = {"JinaTextEmbedder": texts, "JinaDocumentEmbedder": documents, "JinaDocumentImageEmbedder": images}
    calls = {}
    for name, send in ways.items():
        init = getattr(jina, name).__init__
        known = inspect.signature(init).parameters
        calls[name] = Call(init, send, plain, {key: value for key, value in values.items() if key in known})
    return calls


def chroma(url: str, key: str) -> dict[str, Call]:
    from chromadb.utils.embedding_functions import JinaEmbeddingFunction

    def send(**sent: Any) -> Any:
        function = JinaEmbeddingFunction(**sent)
        function._api_url = f"{url}/v1/embeddings"
        return function(TEXTS), function.embed_query(TEXTS[:1])

    values = {
        "model_name": f"jinaai/{MODEL}", "task": "retrieval.query", "late_chunking": True, "truncate": True,
        "dimensions": 64, "embedding_type": "int8", "normalized": False, "query_config": {"task": "retrieval.query"},
    }  # fmt: skip
    return {"JinaEmbeddingFunction": Call(JinaEmbeddingFunction, send, {"model_name": MODEL, "api_key": key}, values)}


def litellm(url: str, key: str) -> dict[str, Call]:
    import litellm

    values = {
        "model": f"jina_ai/jinaai/{MODEL}",
        "input": TEXTS[:1],
        "dimensions": 64,
        "encoding_format": "base64",
        "user": "me",
    }
    plain = {"model": f"jina_ai/{MODEL}", "input": TEXTS, "api_base": f"{url}/v1", "api_key": key}
    return {"embedding": Call(litellm.embedding, litellm.embedding, plain, values)}


def agno(url: str, key: str) -> dict[str, Call]:
    from agno.knowledge.embedder.jina import JinaEmbedder

    def send(**sent: Any) -> Any:
        return JinaEmbedder(**sent).get_embedding("a dog")

    values = {
        "id": f"jinaai/{MODEL}", "dimensions": 64, "embedding_type": "int8", "late_chunking": True, "user": "me",
        "request_params": {"task": "retrieval.query"},
    }  # fmt: skip
    plain = {"id": MODEL, "dimensions": 384, "base_url": f"{url}/v1/embeddings", "api_key": key}
    return {"JinaEmbedder": Call(JinaEmbedder, send, plain, values)}


def milvus(url: str, key: str) -> dict[str, Call]:
    from pymilvus.model.dense import JinaEmbeddingFunction, jinaai

    jinaai.API_URL = f"{url}/v1/embeddings"

    def send(**sent: Any) -> Any:
        return JinaEmbeddingFunction(**sent)(TEXTS)

    values = {"model_name": f"jinaai/{MODEL}", "task": "separation", "dimensions": 64, "late_chunking": True}
    plain = {"model_name": MODEL, "api_key": key, "dimensions": 384}
    return {"JinaEmbeddingFunction": Call(JinaEmbeddingFunction, send, plain, values)}


def sent_by(call: Call, sent: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The paths and bodies of a call, whatever comes of it; none where the client itself refuses it."""
    Recorder.bodies.clear()
    try:
        call.send(**sent)
    except Exception as error:  # a refusal, of the server or of the client itself
        print(f"{sent}: {error!r}"[:300], file=sys.stderr)
    return list(Recorder.bodies)


def probe(call: Call) -> dict[str, Any]:
    """Of each parameter the path and the fields that differ from the plain call's; of those that stay here, none."""
    plain = sent_by(call, call.plain)
    if not plain:
        raise SystemExit("the plain call sends nothing")
    found: dict[str, list[dict[str, Any]]] = {}
    for name in inspect.signature(call.signature).parameters:
        if name not in call.values and name not in STAYS | {"self"}:
            raise SystemExit(f"{name} is new: give it a value, or name it in STAYS")
        bodies = sent_by(call, {**call.plain, name: call.values[name]}) if name in call.values else []
        found[name] = [
            {"path": path, "body": body, "fields": differing}
            for (path, body), (_, old) in zip(bodies, plain, strict=False)
            if (differing := sorted(key for key in body if body[key] != old.get(key)))
        ][:1]
    return {"plain": plain[0][1], "parameters": found}


def main() -> None:
    """Probe one client."""
    name, Recorder.server_url, key = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    calls = globals()[name.replace("-", "_")](f"http://127.0.0.1:{server.server_port}", key)
    print("RESULT", json.dumps({title: probe(call) for title, call in calls.items()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
