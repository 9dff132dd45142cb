"""A path of another vendor's API, or one with too much before it, is answered with what to use instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import pytest
from fastapi import FastAPI

from babelclip.encoder import Encoder
from babelclip.serve.app import make_app
from babelclip.serve.foreign_paths import FOREIGN_PATHS
from babelclip.serve.settings import ServerSettings

from .posting_routes import posting_paths

Running = Callable[[FastAPI], AbstractContextManager[httpx.Client]]
FOREIGN = {
    "/v1beta/models/gemini-embedding-001:embedContent": "Gemini",
    "/v1beta/models/gemini-embedding-001:batchEmbedContents": "Gemini",
    "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent": "Gemini",
    "/v1/projects/me/locations/eu/publishers/google/models/multimodalembedding@001:predict": "Vertex AI",
    "/v1beta1/projects/me/locations/eu/publishers/google/models/gemini-embedding-2:embedContent": "Gemini",
    "/openai/deployments/small/embeddings": "Azure",
    "/images/embeddings": "Azure",
    "/models/images/embeddings": "Azure",
    "/models/embeddings": "Azure",
    "/api/embed": "Ollama",
    "/embed": "other embedding servers",
    "/v2/models/clip/infer": "Triton",
    "/v1/contextualizedembeddings": "contextualized",
    "/v1/rerank": "no other work",
    "/v2/chat": "no other work",
}


@pytest.mark.parametrize("path", FOREIGN)
def test_a_path_of_another_api_is_told_the_way(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={})
    assert (answer.status_code, answer.json()["code"]) == (404, "RESOURCE_NOT_FOUND")
    assert FOREIGN[path] in answer.json()["detail"]
    assert "/v1/embeddings" in answer.json()["detail"]


def test_every_rule_has_a_path_here(client: httpx.Client) -> None:
    said = " ".join(client.post(path, json={}).json()["detail"] for path in FOREIGN)
    assert [rule for _, rule in FOREIGN_PATHS if rule not in said] == []


def test_an_address_with_too_much_in_it(encoder: Encoder, client: httpx.Client) -> None:
    for path in set(posting_paths(make_app(encoder))) - {"/embeddings", "/v1/embeddings/embeddings"}:
        for before in ("/v1/v1", "/v1/embeddings", "/api"):
            answer = client.post(before + path, json={})
            assert answer.status_code == 404, (before, path)
            found = re.search("there is (.*), without anything before it", answer.json()["detail"])
            assert found is not None, (before, path)
            assert (before + path).endswith(found[1])
    assert client.post("/v1/nothing", json={}).json()["detail"] == "Not Found"


def test_a_container_names_its_own_path(encoder: Encoder, running: Running) -> None:
    with running(make_app(encoder, ServerSettings(mode="sagemaker"))) as container:
        assert "made at /invocations" in container.post("/embed", json={}).json()["detail"]
