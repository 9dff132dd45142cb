"""What all routes share: the models by name, who may come in, and where a request is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import Response

from babelclip.serve.answers import json_answer
from babelclip.serve.bad_requests import UnknownModel
from babelclip.serve.costs import Usage
from babelclip.serve.embeddings import Embedded, Failed, Kitchen
from babelclip.serve.gate import Gate, Guest
from babelclip.serve.journal import tell
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

    @property
    def first(self) -> Served:
        """The model of requests that name none."""
        return next(iter(self.models.values()))

    def enter(self, request: Request) -> Guest:
        """Let a request in. Raises: a Refusal."""
        guest = self.gate.enter(request.headers.get("authorization"))
        tell(request.scope, key=guest.key_id)
        return guest

    def headers(self, request: Request, served: Served, guest: Guest, embedded: Embedded) -> dict[str, str]:
        """What an answer says of how it was made; metrics and the log hear it too."""
        numbers, seconds = embedded.numbers, embedded.watch.seconds
        kinds = [kind for kind, number in numbers.items() if number]
        self.kitchen.metrics.staged(seconds, kinds[0] if len(kinds) == 1 else "mixed" if kinds else "none")
        tell(
            request.scope,
            model=served.description.name,
            texts=numbers["text"],
            images=numbers["image"],
            tokens=embedded.usage.total,
            stages={stage: round(each, 6) for stage, each in seconds.items()},
        )
        return model_headers(served) | embedded.watch.header() | guest.headers()


def house_of(request: Request) -> House:
    """The house of the application that the request is made to."""
    house: House = request.app.state.house
    return house


def default_dim(guest: Guest, served: Served) -> int | None:
    """The key's, for models that are as wide: one key may be used for several."""
    dim = guest.default_dim
    return dim if dim is not None and dim <= served.description.dim else None


def list_answer(served: Served, data: list[dict[str, Any]], usage: Usage, headers: dict[str, str]) -> Response:
    """Jina's envelope around one entry an item."""
    counted = {"total_tokens": usage.total, "prompt_tokens": usage.total, "image_tokens": usage.image_tokens}
    answer = {"model": served.description.name, "object": "list", "usage": counted, "data": data}
    return json_answer(answer, headers=headers)


def failed_entry(place: int, failed: Failed) -> dict[str, Any]:
    """What stands in the place of an item that failed."""
    return {"object": "error", "index": place, "code": failed.code, "detail": failed.message}


def model_headers(served: Served) -> dict[str, str]:
    """Which model ran, whatever name it was asked by, and how."""
    facts = served.description.facts
    named = {
        "X-Model": served.description.name,
        "X-Model-Revision": facts.get("fingerprint"),
        "X-Compute-Dtype": facts.get("dtype"),
    }
    return {name: str(value) for name, value in named.items() if value is not None}
