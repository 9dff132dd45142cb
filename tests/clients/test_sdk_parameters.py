"""The parameters of the SDKs are those that were recorded, and so is what they send.

A new version of a client that has one more parameter fails here; ``record_sdk_parameters.py`` keeps it for the tests
that run without the SDKs, once ``sdk_probes.py`` has a value for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "journeys"))
sys.path.insert(0, str(Path(__file__).parent))
from record_sdk_parameters import CLIENTS, RECORDED, probed

from serving import server

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server("--log", "none") as (_, client):
        yield str(client.base_url).rstrip("/")


@pytest.mark.parametrize("client", CLIENTS)
def test_an_sdk_sends_what_was_recorded(client: str, address: str) -> None:
    recorded: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    found = probed(client, address)
    for call, about in found.items():
        assert about["parameters"].keys() == recorded[client][call]["parameters"].keys()
    assert found == recorded[client]
