"""The guide's own nginx file, run by nginx before a server and a page: paths, TLS, sizes, buffers, and who asks."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
import trustme

from .conftest import COMMAND, running

pytestmark = pytest.mark.proxy
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "deploy.md"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NAME = "photos.example.org"
API, PAGE = f"https://{NAME}/embeddings-api", f"https://{NAME}/albums/"
PASSWORD = ("me", "secret")


@dataclass(frozen=True)
class Site:
    """nginx, and what is behind it."""

    client: httpx.Client
    socket: Path
    trusting: ssl.SSLContext
    key: dict[str, str]
    folder: Path
    page: subprocess.Popen[str]

    def connected(self) -> ssl.SSLSocket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self.socket))
        return self.trusting.wrap_socket(connection, server_hostname=NAME)


def configuration(folder: Path, page_port: int) -> str:
    """The guide's file, with this test's places in it, in what Debian's nginx.conf has around it."""
    (site,) = re.findall(r"```nginx\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    for there, here in {
        "listen 443 ssl;": f"listen unix:{folder}/site.sock ssl;",
        "/etc/ssl/certs/photos.pem": f"{folder}/cert.pem",
        "/etc/ssl/private/photos.key": f"{folder}/key.pem",
        "/run/babelclip/api.sock": f"{folder}/api.sock",
        "/etc/nginx/albums.htpasswd": f"{folder}/albums.htpasswd",
        "127.0.0.1:8090": f"127.0.0.1:{page_port}",
    }.items():
        assert there in site, f"the guide does not say {there} any more"
        site = site.replace(there, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""  # who started the server, so that the socket can be opened
    return (
        f"{user}pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log {folder}/access.log;\n{places}{site}}}\n"
    )


@pytest.fixture(scope="module")
def site(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if NGINX is None:
        missing = "these tests need nginx: apt-get install nginx-light"
        pytest.fail(missing) if os.environ.get("BABELCLIP_NEEDS_NGINX") else pytest.skip(missing)
    folder = tmp_path_factory.mktemp("n")
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "albums.htpasswd").write_text(f"{PASSWORD[0]}:{{PLAIN}}{PASSWORD[1]}\n")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    create = [*COMMAND, "keys", "create", "me", "--keys", str(folder / "keys.db")]
    made = subprocess.run(create, capture_output=True, text=True, check=True)
    serve = ["serve", "--keys", str(folder / "keys.db"), "--socket", str(folder / "api.sock")]
    ui = ["ui", "--no-open", "--root-path", "/albums", "--page-name", NAME]
    with ExitStack() as stack:
        stack.enter_context(running([*serve, "--root-path", "/embeddings-api"], environment, folder / "api.log"))
        address, page = stack.enter_context(running(ui, environment))
        (folder / "nginx.conf").write_text(configuration(folder, urlsplit(address).port or 0))
        nginx = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        with subprocess.Popen(nginx, stderr=subprocess.PIPE, text=True) as process:
            stack.callback(process.terminate)
            deadline = time.monotonic() + 30
            while not (folder / "site.sock").exists():
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.02)
            transport = httpx.HTTPTransport(uds=str(folder / "site.sock"), verify=trusting)
            with httpx.Client(transport=transport, timeout=60) as client:
                key = {"Authorization": f"Bearer {made.stdout.strip()}"}
                yield Site(client, folder / "site.sock", trusting, key, folder, page)
            process.terminate()


def test_the_api_below_its_path(site: Site) -> None:
    body = {"model": "babelclip-small", "input": ["a dog"]}
    answer = site.client.post(f"{API}/v1/embeddings", json=body, headers=site.key)
    assert (answer.status_code, len(answer.json()["data"])) == (200, 1)
    assert site.client.post(f"{API}/v1/embeddings", json=body).status_code == 401
    assert site.client.get(f"{API}/openapi.json").json()["servers"] == [{"url": "/embeddings-api"}]
    assert site.client.get(f"https://{NAME}/v1/models").status_code == 404


def test_the_page_below_its_path_asks_for_nginxs_password(site: Site, photos: Path) -> None:
    assert site.client.get(PAGE).status_code == 401
    assert "<form" in site.client.get(PAGE, auth=PASSWORD).text
    whole = site.client.get(PAGE.rstrip("/"), auth=PASSWORD, follow_redirects=False)
    assert urljoin(PAGE.rstrip("/"), whole.headers["Location"]) == PAGE
    seen: set[str] = set()
    for page in (PAGE, f"{PAGE}?q=a+dog", f"{PAGE}playground", f"{PAGE}results/nothing"):
        text = site.client.get(page, auth=PASSWORD, headers={"Accept": "text/html"}).text
        seen |= {urljoin(page, unescape(each)) for each in re.findall(r'(?:href|src|action)="([^"]*)"', text)}
    named = {each for each in seen if not each.startswith("data:")}
    assert all(each.startswith(PAGE) for each in named)
    for kind in ("static/page.css", "thumbnail/", "playground"):
        one = next(each for each in sorted(named) if each.startswith(PAGE + kind))
        assert site.client.get(one, auth=PASSWORD).status_code == 200, one
    for headers in ({"Origin": f"https://{NAME}"}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}):
        posted = site.client.post(
            f"{PAGE}results", content=(photos / "panda.jpg").read_bytes(), headers=headers, auth=PASSWORD
        )
        assert "panda.jpg" in posted.json()["html"].partition("</li>")[0]
    for elsewhere in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert site.client.get(f"{PAGE}results?q=a", headers=elsewhere, auth=PASSWORD).status_code == 403
    rebound = site.client.get(PAGE, headers={"Host": "evil.example"}, auth=PASSWORD)
    assert (rebound.status_code, "not a name of this server" in rebound.text) == (400, True)


def test_bodies_as_large_as_the_server_takes_and_no_larger(site: Site) -> None:
    """Who has no key is told so before the body is there, and nginx keeps nothing of it."""
    item = {"input": ["a dog"], "x": "a" * (60 * 2**20)}
    assert site.client.post(f"{API}/v1/embeddings", json=item, headers=site.key).status_code == 200
    too_large = site.client.post(f"{API}/v1/embeddings", content=b"[" * (65 * 2**20), headers=site.key)
    assert too_large.status_code == 413
    uploaded = site.client.post(f"{PAGE}results", content=b"\xff\xd8\xff" + b"\0" * (31 * 2**20), auth=PASSWORD)
    assert (uploaded.status_code, "detail" in uploaded.json()) == (400, True)
    with site.connected() as stranger:
        head = f"POST /embeddings-api/v1/embeddings HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 60000000\r\n\r\n"
        stranger.sendall(head.encode() + b"[")
        assert stranger.recv(2**16).startswith(b"HTTP/1.1 401")
    assert not list((site.folder / "client_body").rglob("*"))


def test_twenty_at_once_and_an_answer_that_is_large(site: Site) -> None:
    statuses: list[int] = []

    def ask(count: int) -> None:
        body = {"input": [f"{number}" for number in range(count)]}
        answer = site.client.post(f"{API}/v1/embeddings", json=body, headers=site.key)
        statuses.append(answer.status_code if len(answer.json().get("data", ())) == count else 0)

    threads = [threading.Thread(target=ask, args=[200 if number == 0 else 4]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 20


def test_work_for_a_client_that_has_left_stops_behind_nginx(site: Site) -> None:
    shown = site.client.get(f"{PAGE}?q=zebras", auth=PASSWORD).text
    photo = re.findall(r'data-id="([0-9a-f-]+)"', shown)[0]
    login = httpx.Request("GET", PAGE, headers={"Authorization": httpx.BasicAuth(*PASSWORD)._auth_header})
    lines = f"Host: {NAME}\r\nAuthorization: {login.headers['Authorization']}\r\n\r\n"
    with ExitStack() as leaving:
        for number in range(9):
            connection = leaving.enter_context(site.connected())
            connection.sendall(f"GET /albums/where/{photo}?q=leave+{number} HTTP/1.1\r\n{lines}".encode())
        deadline = time.monotonic() + 60
        full = {"q": "one more"}
        while site.client.get(f"{PAGE}where/{photo}", params=full, auth=PASSWORD).status_code != 503:
            assert time.monotonic() < deadline

    def drawn(words: str) -> float:
        """Seconds until it is there, from when it was first asked for."""
        began = time.monotonic()
        while site.client.get(f"{PAGE}where/{photo}", params={"q": words}, auth=PASSWORD).status_code != 200:
            assert time.monotonic() < began + 60
        return time.monotonic() - began

    after_others = drawn("alone")
    assert after_others < 5 * drawn("again")  # not after nine others


def test_no_header_of_a_proxy_is_believed_and_nginx_knows_who_asks(site: Site) -> None:
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example"}
    told |= {"Forwarded": "for=203.0.113.9;host=evil.example", "X-Real-IP": "203.0.113.9"}
    for headers in (site.key, {**site.key, **told}):
        answer = site.client.post(f"{API}/v1/embeddings", json={"input": "a"}, headers=headers)
        assert answer.status_code == 200
    assert site.client.get(f"{PAGE}?q=a", headers=told, auth=PASSWORD).status_code == 200
    lines = [json.loads(line) for line in (site.folder / "api.log").read_text().splitlines()]
    assert len(lines) > 2
    assert "203.0.113.9" not in (site.folder / "api.log").read_text()
    assert "unix: - me [" in (site.folder / "access.log").read_text()
