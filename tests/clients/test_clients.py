"""Unmodified real clients against a running server: the examples of docs/clients, each in an environment of its own.

Not part of `make test`: `make test-real` installs the clients and runs this.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

import babelclip
from babelclip.encoder import Encoder
from babelclip.serve.access.authenticator import Client
from babelclip.serve.access.keys import KeyFile
from babelclip.serve.app import application, make_app
from babelclip.serve.errors import Busy, FieldError, InvalidInput, InvalidKey, Refusal, TooManyRequests
from babelclip.serve.inference.served_model import serve_encoder
from babelclip.serve.settings import ServerSettings

sys.path.insert(0, str(Path(__file__).parent))
from environments import ROOT, clean_environment, environment

pytestmark = pytest.mark.clients
PAGES = {path.stem for path in (ROOT / "docs" / "clients").iterdir()}
CLIENTS = sorted(path.stem for path in (Path(__file__).parent / "requirements").iterdir() if path.stem in PAGES)
SHOWN = "http://127.0.0.1:8080"
TEXTS = ["a bridge at dawn", "黎明的桥"]
TOLERANCE = {"voyage": 0.02}  # it sends pictures as lossy WebP

REFUSALS: dict[int, Callable[[], Refusal]] = {
    401: InvalidKey,
    422: lambda: InvalidInput([FieldError("input", "the-reason-for-422")]),
    429: lambda: TooManyRequests("the-reason-for-429", retry_after=1, headers={}),
    503: lambda: Busy("the-reason-for-503", retry_after=1),
}
PLAIN = dict.fromkeys(REFUSALS, "RuntimeError")
ERRORS: dict[str, dict[int, str]] = {
    "agno": dict.fromkeys(REFUSALS, "EmbeddingError"),
    "chroma": PLAIN,
    "cohere": {
        401: "UnauthorizedError",
        422: "UnprocessableEntityError",
        429: "TooManyRequestsError",
        503: "ServiceUnavailableError",
    },
    "haystack": PLAIN,
    "langchain": PLAIN,
    "litellm": {
        401: "AuthenticationError",
        422: "BadRequestError",
        429: "RateLimitError",
        503: "ServiceUnavailableError",
    },
    "llama-index": PLAIN,
    "milvus": PLAIN,
    "openai": {
        401: "AuthenticationError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
        503: "InternalServerError",
    },
    "vercel-ai": dict.fromkeys(REFUSALS, "AI_APICallError"),
    "voyage": {
        401: "AuthenticationError",
        422: "MalformedRequestError",
        429: "RateLimitError",
        503: "ServiceUnavailableError",
    },
}
"""Client -> status -> the class that it raises. Where a client has none of its own, the message has to tell."""
REASON = {401: "This API key is not valid"} | {status: f"the-reason-for-{status}" for status in (422, 429, 503)}
SAYS_NOTHING = {("voyage", 503), *(("agno", status) for status in REFUSALS)}
"""These clients put a message of their own in the place of the server's."""


class Refusing:
    """Refuses everybody for one reason."""

    def __init__(self, status: int) -> None:
        self._refusal = REFUSALS[status]

    def admit(self, authorization: str | None) -> Client:
        raise self._refusal()


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def homes() -> dict[str, Path]:
    """All environments, made a few at once."""
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(CLIENTS, pool.map(environment, CLIENTS), strict=True))


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return babelclip.load()


@pytest.fixture(scope="session")
def server(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and key."""
    with KeyFile(tmp_path_factory.mktemp("keys") / "keys.db", create=True) as keys:
        _, secret = keys.add("clients")
        with running(make_app(encoder, keys=keys)) as address:
            yield address, secret


@pytest.fixture(scope="session")
def refusing(encoder: Encoder) -> Iterator[dict[int, str]]:
    """Status -> the address of a server that answers everything with it."""
    apps = {}
    for status in REFUSALS:
        settings = ServerSettings()
        model = serve_encoder(encoder, settings.image_limits)
        apps[status] = application({encoder.name: model}, settings, Refusing(status))
    with running(apps[401]) as a, running(apps[422]) as b, running(apps[429]) as c, running(apps[503]) as d:
        yield dict(zip(REFUSALS, (a, b, c, d), strict=True))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run, with the picture that they name."""
    home = tmp_path_factory.mktemp("work")
    photo = ROOT / "src" / "babelclip" / "demo" / "photos" / "bridge-at-night.webp"
    Image.open(photo).convert("RGB").save(home / "bridge.jpg")
    return home


def example(client: str, address: str, key: str) -> str:
    """The code of a client's page, with another address and key; it leaves `texts` and perhaps `images`."""
    page = (ROOT / "docs" / "clients" / f"{client}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```(?:python|js)\n(.*?)```", page, flags=re.DOTALL)
    assert SHOWN in code
    assert '"any"' in code
    return code.replace(SHOWN, address).replace('"any"', json.dumps(key))


PYTHON_END = """
import json
def plain(rows): return [[float(x) for x in row] for row in rows]
print("RESULT", json.dumps([plain(texts), plain(globals().get("images", []))]))
"""
PYTHON_CATCH = """
try:
{code}
    print("RESULT", "no error")
except BaseException as error:
    print("RESULT", type(error).__name__, str(error).replace(chr(10), " "))
"""
JS_END = "\nconsole.log('RESULT', JSON.stringify([texts, []]));\n"
JS_CATCH = """
process.on("uncaughtException", (error) => {{
  const cause = error.lastError ?? error;
  console.log("RESULT", cause.name, cause.message, cause.isRetryable);
  process.exit(0);
}});
{code}
console.log("RESULT", "no error");
"""


def run(client: str, home: Path, code: str, folder: Path) -> str:
    """What a program of the client prints after RESULT."""
    if client == "vercel-ai":
        file = home / f"{client}.mjs"  # beside its node_modules
        command = [str(home / "bin" / "node"), str(file)]
    else:
        file = folder / f"program-{client}.py"  # not the name of a module
        command = [str(home / "bin" / "python"), str(file)]
    file.write_text(code, encoding="utf-8")
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(home), capture_output=True, text=True, timeout=180, check=False
    )
    found = re.findall(r"^RESULT (.*)$", done.stdout, flags=re.MULTILINE)
    assert found, f"{client}: exit {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return str(found[-1])


@pytest.mark.parametrize("client", CLIENTS)
def test_vectors_are_the_librarys(
    client: str, homes: dict[str, Path], server: tuple[str, str], encoder: Encoder, folder: Path
) -> None:
    code = example(client, *server) + (JS_END if client == "vercel-ai" else PYTHON_END)
    texts, images = json.loads(run(client, homes[client], code, folder))
    assert np.allclose(texts, encoder.encode_text(TEXTS), atol=1e-4)
    if images:
        wanted = encoder.encode_image([folder / "bridge.jpg"])
        assert np.allclose(images, wanted, atol=TOLERANCE.get(client, 1e-4))
    page = (ROOT / "docs" / "clients" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if f"({client}.md)" in line)
    assert row.endswith("| yes | yes |") == bool(images)


@pytest.mark.parametrize("status", list(REFUSALS))
@pytest.mark.parametrize("client", CLIENTS)
def test_errors_are_the_clients_own(
    client: str, status: int, homes: dict[str, Path], refusing: dict[int, str], folder: Path
) -> None:
    code = example(client, refusing[status], "any-key")
    if client == "vercel-ai":
        code = JS_CATCH.format(code=code)
    else:
        code = PYTHON_CATCH.format(code="\n".join(f"    {line}" for line in code.splitlines()))
    found = run(client, homes[client], code, folder)
    assert found.split()[0] == ERRORS[client][status], found
    if (client, status) not in SAYS_NOTHING:
        assert REASON[status] in found
    if client == "vercel-ai":
        assert found.endswith("true" if status in (429, 503) else "false")  # whether it is worth trying again
