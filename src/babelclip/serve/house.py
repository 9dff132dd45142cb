"""What all routes share: the models by name, who may come in, and where a request is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from babelclip.serve.bad_requests import UnknownModel
from babelclip.serve.embeddings import Kitchen
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


def model_headers(served: Served) -> dict[str, str]:
    """Which model ran, whatever name it was asked by."""
    facts = served.description.facts
    named = {"X-Model": served.description.name, "X-Model-Revision": facts.get("fingerprint")}
    return {name: str(value) for name, value in named.items() if value is not None}
