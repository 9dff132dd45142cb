"""TLS, a Unix socket, a sub-path behind a proxy, and the model's own options: the server as it is deployed."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme

sys.path.insert(0, str(Path(__file__).parent))
from serving import COMMAND, MODEL, server

BODY = {"input": "a dog"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ssl.SSLContext]:
    """Certificate, key, and what trusts them."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return folder / "cert.pem", folder / "key.pem", trusting


def test_tls_and_what_the_model_runs_on(certificates: tuple[Path, Path, ssl.SSLContext]) -> None:
    certificate, key, trusting = certificates
    options = ["--certificate", str(certificate), "--certificate-key", str(key)]
    compute = ["--runtime", "onnx", "--device", "cpu", "--dtype", "float32", "--threads", "1"]
    with server(*options, *compute, "--root-path", "/below", verify=trusting) as (_, client):
        assert client.base_url.scheme == "https"
        answer = client.post("/below/v1/embeddings", json=BODY)
        assert (answer.status_code, answer.headers["X-Compute-Dtype"]) == (200, "float32")
        facts = client.get("/v1/models").json()["data"][0]["facts"]
        assert (facts["runtime"], facts["device"], facts["threads"]) == ("onnx", "cpu", 1)
        page = {"Origin": str(client.base_url).rstrip("/")}
        assert client.post("/v1/embeddings", json=BODY, headers=page).status_code == 200
        with httpx.Client(trust_env=False) as untrusting, pytest.raises(httpx.ConnectError):
            untrusting.get(client.base_url.join("/live"))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{client.base_url.port}/live", trust_env=False)


def test_a_unix_socket_comes_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))  # as a server that was killed leaves it
    left.close()
    transport = httpx.HTTPTransport(uds=str(path))
    with server("--socket", str(path), base_url="http://babelclip", transport=transport) as (process, client):
        assert client.post("/v1/embeddings", json=BODY).json()["model"] == MODEL
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        second = subprocess.run([*COMMAND, "serve", "--socket", str(path)], capture_output=True, text=True, check=False)
        assert (second.returncode, "another server listens there" in second.stderr) == (2, True)
        assert client.get("/live").status_code == 200
        process.terminate()
        assert process.wait(40) == 0
    assert not path.exists()


def wrong(tmp_path: Path) -> list[tuple[list[str], str]]:
    (tmp_path / "words.pem").write_text("no certificate")
    (tmp_path / "file").write_text("kept")
    return [
        (["--certificate", str(tmp_path / "none.pem")], "No such file"),
        (["--certificate", str(tmp_path / "words.pem")], "expected a PEM file"),
        (["--socket", str(tmp_path / "file")], "it is no socket"),
        (["--socket", str(tmp_path / "none" / "s")], "No such file"),
        (["--socket", str(tmp_path / ("long" * 60))], "--socket"),
    ]


@pytest.mark.parametrize("case", range(5))
def test_what_cannot_be_listened_at_is_told(tmp_path: Path, case: int) -> None:
    options, said = wrong(tmp_path)[case]
    done = subprocess.run([*COMMAND, "serve", *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


def test_variables_start_a_server_too() -> None:
    done = subprocess.run(
        [*COMMAND, "serve"],
        env={**os.environ, "BABELCLIP_SERVE_CERTIFICATE": "/none.pem"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "--certificate /none.pem" in done.stderr
