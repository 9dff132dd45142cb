"""The state of the application, handed to every route when the routes are made: typed, and nothing to be looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from pydantic import BaseModel

from babelclip.serve.access.authenticator import Authenticator, Client
from babelclip.serve.access.key_headers import sent_key
from babelclip.serve.access_log import add_log_fields
from babelclip.serve.embedding_service import EmbeddingService
from babelclip.serve.errors import FieldError, InvalidInput, UnknownModel
from babelclip.serve.ignored_fields import IgnoredFields
from babelclip.serve.inference.served_model import ServedModel
from babelclip.serve.metrics import Metrics
from babelclip.serve.settings import ServerSettings

VENDOR = "jinaai/"
"""The hub's organization, with which the vendor's own server and its clients name a model: ``jinaai/jina-clip-v2``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AppState:
    """What the routes share."""

    settings: ServerSettings
    models: Mapping[str, ServedModel]  # by every name that they answer to; the first is for requests that name none
    service: EmbeddingService
    authenticator: Authenticator
    metrics: Metrics

    async def admit(self, request: Request) -> Client:
        """Admit a request by its head; use the client in a ``with``, around all that is done for it.

        Raises:
            Refusal: it has no good key, or too many requests were sent with it.
        """
        client = await self.authenticator.admit(sent_key(request.headers))
        add_log_fields(request.scope, key=client.key_id)
        return client

    def model(self, name: str | None) -> ServedModel:
        """The model of a name; None names the one that is served.

        Raises:
            UnknownModel: it is not served; the message lists those that are.
            InvalidInput: none was named, and there are several.
        """
        if name is None:
            if len(self.distinct_models) > 1:
                message = f"several models are served, so name one of {', '.join(sorted(self.models))}"
                raise InvalidInput([FieldError("model", message, "missing")])
            return self.first_model
        short = name.removeprefix(VENDOR)
        if name not in self.models and short not in self.models:
            raise UnknownModel(self.not_served(name))
        return self.models.get(name) or self.models[short]

    def not_served(self, name: str) -> str:
        """Why there is no model of a name."""
        return f"no model {name[:100]!r} is served here; there is {', '.join(sorted(self.models))}"

    def ignored_fields(self, body: BaseModel) -> IgnoredFields:
        """What a body has and its schema has not; to be added to.

        Raises:
            InvalidInput: there is something, and it is not to pass.
        """
        ignored = IgnoredFields(strict=self.settings.strict_fields)
        ignored.add_extra(body)
        return ignored

    @property
    def first_model(self) -> ServedModel:
        """The model of requests that name none."""
        return next(iter(self.models.values()))

    @property
    def distinct_models(self) -> list[ServedModel]:
        """Every model once."""
        return list({id(model): model for model in self.models.values()}.values())
