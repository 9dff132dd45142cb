"""What becomes of every parameter of every documented client's SDK: the guide's table, and the server's own word.

``tests/clients/sdk_parameters.json`` holds what each parameter sends, read from the SDKs; ``make test-real`` compares
it with them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
RECORDED: dict[str, dict[str, Any]] = json.loads(
    (ROOT / "tests" / "clients" / "sdk_parameters.json").read_text(encoding="utf-8")
)
ROWS = [
    (client, call, name, sent)
    for client, calls in RECORDED.items()
    for call, about in calls.items()
    for name, bodies in about["parameters"].items()
    for sent in bodies
]
LONG = "word " * 600
pytestmark = pytest.mark.filterwarnings("ignore::babelclip.TruncationWarning")


def field_table() -> dict[tuple[str, str], str]:
    """Route and field -> what becomes of it, as the guide says."""
    guide = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/\S+)` \| `(\w+)` \| (.+) \|$", guide, flags=re.MULTILINE)
    return {(route, name): effect for route, name, effect in rows}


def lengthened(body: dict[str, Any]) -> dict[str, Any]:
    """The body with texts over the model's limit, so that cutting them makes a difference."""
    part = [{"content": [{"type": "text", "text": LONG}]}]
    return {name: {"input": LONG, "texts": [LONG], "inputs": part}.get(name, value) for name, value in body.items()}


def vectors(answer: httpx.Response) -> object:
    content = answer.json()
    return content.get("embeddings") or content.get("data") or content["detail"]


def test_every_documented_client_has_its_parameters() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "clients").glob("*.md")} - {"README", "sagemaker", "weaviate"}
    assert pages == set(RECORDED)
    assert all(about["parameters"] for calls in RECORDED.values() for about in calls.values())


@pytest.mark.parametrize("route", ["/v1/embeddings", "/v1/multimodalembeddings", "/v2/embed"])
def test_the_table_has_every_field_of_a_route(client: httpx.Client, route: str) -> None:
    schemas = client.get("/openapi.json").json()
    (content,) = schemas["paths"][route]["post"]["requestBody"]["content"].values()
    fields = set(schemas["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["properties"])
    also = {"texts"} if route == "/v1/embeddings" else set()
    assert {name for path, name in field_table() if path == route} == fields | also


@pytest.mark.parametrize(("sdk", "call", "parameter", "sent"), ROWS, ids=["-".join(row[:3]) for row in ROWS])
def test_a_parameter_does_what_the_table_says(
    client: httpx.Client, sdk: str, call: str, parameter: str, sent: dict[str, Any]
) -> None:
    path, body, plain = sent["path"], sent["body"], RECORDED[sdk][call]["plain"]
    for name in sent["fields"]:
        effect = field_table()[path, name]
        if name in ("truncate", "truncation"):
            body, plain = lengthened(body), lengthened(plain)
        answer, without = client.post(path, json=body), client.post(path, json=plain)
        told = answer.headers.get("X-Ignored-Fields", "").split(", ")
        if effect.startswith("refused"):
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == name
        elif effect.startswith("harmless"):
            assert answer.status_code == 200
            assert vectors(answer) == vectors(without)
            assert name in told
        elif name == "model":
            assert vectors(answer) == vectors(without)
        else:
            assert effect.startswith(("honored", "another name of"))
            assert vectors(answer) != vectors(without) or name in told, f"{name} changed nothing, and nobody was told"
