"""Options that several verbs share: which model, how to show, what kind an argument is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from babelclip.encoder import Encoder
    from babelclip.remote.remote_encoder import RemoteEncoder

    AnyEncoder = Encoder | RemoteEncoder

IndexOption = Annotated[
    str | None,
    Parameter(
        name="--index",
        help="Address of the index, as sqlite:FILE or a plain path; the one in the user's data folder when left out.",
    ),
]

KEY_VARIABLE = "BABELCLIP_KEY"
"""The environment variable that holds the key of a server."""


@Parameter(name="*", group="Model")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model runs, and on what."""

    model: str | None = None
    """Model folder, hub name (org/name), or the address of a server (http://host:8080, its key in BABELCLIP_KEY, one of
    several models as http://host:8080#name); the bundled model when left out."""
    runtime: Literal["auto", "onnx", "torch"] = "auto"
    """What runs the model."""
    device: str | None = None
    """Device of the torch runtime, for instance cpu or cuda."""
    dtype: str | None = None
    """Number type that the model computes in; float32 when left out."""
    threads: int | None = None
    """Threads of one computation; the cores that this process may use when left out."""
    revision: str | None = None
    """Commit, branch or tag of a model on the hub."""

    def open(self) -> AnyEncoder:
        """Load the model, or reach the server that has it.

        Raises: ConfigError for options that a server cannot be given; and as ``load`` and ``RemoteEncoder`` do.
        """
        import babelclip
        from babelclip.errors import ConfigError

        if self.model is not None and self.model.startswith(("http://", "https://")):
            named = {"--device": self.device, "--dtype": self.dtype, "--threads": self.threads}
            given = [name for name, value in (named | {"--revision": self.revision}).items() if value is not None]
            if given or self.runtime != "auto":
                raise ConfigError(f"{', '.join(given) or '--runtime'} cannot be told to a server: leave it out")
            url, _, model = self.model.partition("#")
            return babelclip.RemoteEncoder(url, os.environ.get(KEY_VARIABLE), model=model or None)
        return babelclip.load(
            self.model,
            runtime=self.runtime,
            device=self.device,
            dtype=self.dtype,
            threads=self.threads,
            revision=self.revision,
        )


@Parameter(name="*", group="Kinds")
@dataclass(frozen=True, kw_only=True)
class KindOptions:
    """How arguments are told apart. Left out: an image is a data:image/... URI or a name with an image's suffix."""

    text: bool = False
    """Take every argument as a text, even one that looks like a file name."""
    image: bool = False
    """Take every argument as an image file, whatever its suffix."""

    @property
    def forced(self) -> Literal["text", "image"] | None:
        """The kind that all arguments have, or None where each is looked at.

        Raises: ConfigError when both are asked for.
        """
        from babelclip.errors import ConfigError

        if self.text and self.image:
            raise ConfigError("--text and --image exclude each other: give one, or neither and let names decide")
        return "text" if self.text else "image" if self.image else None
