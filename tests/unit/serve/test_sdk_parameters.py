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
from pydantic import BaseModel

from babelclip.serve.routes.sagemaker import Invocation, Parameters

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


SAME_FIELDS = {"/v1/tokens": "/v1/embeddings", "/v1/embed": "/v2/embed"}
"""Routes that take another's fields, as the guide says below its table."""
INVOCATION: dict[str, type[BaseModel]] = {"": Invocation, "parameters.": Parameters}


def field_table() -> dict[tuple[str, str], str]:
    """Route and field -> what becomes of it, as the guide says."""
    guide = (ROOT / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/\S+)` \| `([\w.]+)` \| (.+) \|$", guide, flags=re.MULTILINE)
    table = {(route, name): effect for route, name, effect in rows}
    for route, other in SAME_FIELDS.items():
        assert re.search(rf"`{route}`[^|]* of `{other}`", guide)
        table |= {(route, name): effect for (path, name), effect in table.items() if path == other}
    return table


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


def test_the_table_has_every_field_of_every_route(client: httpx.Client) -> None:
    schemas = client.get("/openapi.json").json()
    routes = {path for path, methods in schemas["paths"].items() if "requestBody" in methods.get("post", {})}
    assert routes >= {"/v1/embeddings", "/v1/tokens", "/v1/classify", "/v1/embed", "/v2/embed", "/vectorize"}
    for route in routes:
        assert_the_table_has(schemas, route)
    known = {f"{prefix}{name}" for prefix, kind in INVOCATION.items() for name in kind.model_fields}
    assert {name for path, name in field_table() if path == "/invocations"} == known
    assert {path for path, _ in field_table()} == routes | {"/invocations"}


def assert_the_table_has(schemas: dict[str, Any], route: str) -> None:
    (content,) = schemas["paths"][route]["post"]["requestBody"]["content"].values()
    fields = set(schemas["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["properties"])
    also = {"texts"} if "input" in fields else set()
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
