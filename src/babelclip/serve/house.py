"""What all routes share: the models by name, who may come in, and where a request is prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.bad_requests import UnknownModel
from babelclip.serve.costs import Usage
from babelclip.serve.embeddings import Failed, Kitchen
from babelclip.serve.gate import Gate, Guest
from babelclip.serve.served import Served
from babelclip.serve.settings import ServerSettings


@dataclass(slots=True)
class House:
    """What the routes share: the models by every name they answer to."""

    settings: ServerSettings
    models: dict[str, Served]
    kitchen: Kitchen
    gate: Gate

    def served(self, name: str) -> Served:
        """The model of a name. Raises: UnknownModel that lists what is served."""
        if name not in self.models:
            known = ", ".join(sorted(self.models))
            raise UnknownModel(f"no model {name[:100]!r} is served here; there is {known}")
        return self.models[name]

    @property
    def distinct(self) -> list[Served]:
        """Every model once."""
        return list({id(served): served for served in self.models.values()}.values())

    def enter(self, request: Request) -> Guest:
        """Let a request in. Raises: a Refusal."""
        return self.gate.enter(request.headers.get("authorization"))


def house_of(request: Request) -> House:
    """The house of the application that the request is made to."""
    house: House = request.app.state.house
    return house


def default_dim(guest: Guest, served: Served) -> int | None:
    """The key's, for models that are as wide: one key may be used for several."""
    dim = guest.default_dim
    return dim if dim is not None and dim <= served.description.dim else None


def list_answer(
    served: Served, guest: Guest, data: list[dict[str, Any]], usage: Usage, headers: Mapping[str, str] | None = None
) -> Response:
    """Jina's envelope around one entry an item."""
    counted = {"total_tokens": usage.total, "prompt_tokens": usage.total, "image_tokens": usage.image_tokens}
    answer = {"model": served.description.name, "object": "list", "usage": counted, "data": data}
    return json_answer(answer, headers={**model_headers(served), **(headers or {}), **guest.headers()})


def failed_entry(place: int, failed: Failed) -> dict[str, Any]:
    """What stands in the place of an item that failed."""
    return {"object": "error", "index": place, "code": failed.code, "detail": failed.message}


def model_headers(served: Served) -> dict[str, str]:
    """Which model ran, whatever name it was asked by."""
    facts = served.description.facts
    named = {"X-Model": served.description.name, "X-Model-Revision": facts.get("fingerprint")}
    return {name: str(value) for name, value in named.items() if value is not None}
