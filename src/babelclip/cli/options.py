"""Options that several verbs share. A flag means the same wherever it stands; what a verb adds says its own help."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from cyclopts import ArgumentCollection

    from babelclip.encoder import Encoder
    from babelclip.prepare.open_image import ImageLimits
    from babelclip.remote.remote_encoder import RemoteEncoder

    AnyEncoder = Encoder | RemoteEncoder

IndexOption = Annotated[
    str | None,
    Parameter(
        name="--index",
        env_var="BABELCLIP_INDEX",
        help="Address of the index: sqlite:FILE or a plain path; the one in the user's data folder when left out.",
    ),
]
InsideOption = Annotated[
    tuple[Path, ...],
    Parameter(name="--in", show_default=False, help="Only what lies in this folder. Several times for several."),
]
SheetOption = Annotated[
    Path | None,
    Parameter(name="--html", help="Write a contact sheet too: one HTML file with everything inside it."),
]
ErrorsToOption = Annotated[
    Path | None, Parameter(name="--errors-to", help="List what failed in this file too, as JSON lines.")
]
JsonOption = Annotated[bool, Parameter(name="--json")]
"""What the objects stand for says each verb."""
QuietOption = Annotated[bool, Parameter(name="--quiet", help="Show no progress.")]
OpenPageOption = Annotated[
    bool,
    Parameter(name="--open", negative="--no-open", help="Show the page in the browser, where there is one."),
]
RevisionOption = Annotated[
    str | None,
    Parameter(
        name="--revision",
        help="Commit, branch or tag of a model on the hub; main, as it was when first asked for, when left out.",
    ),
]
RuntimeOption = Annotated[Literal["auto", "onnx", "torch"], Parameter(name="--runtime", help="What runs the model.")]
DeviceOption = Annotated[
    str | None, Parameter(name="--device", help="Device that torch computes on, for instance cpu or cuda.")
]
DtypeOption = Annotated[
    str | None,
    Parameter(name="--dtype", help="Number type that the model computes in; float32 when left out."),
]
ThreadsOption = Annotated[
    int | None,
    Parameter(
        name="--threads",
        help="Threads of one computation; the cores that this process may use when left out.",
    ),
]
MaxPixelsOption = Annotated[
    int | None,
    Parameter(
        name="--max-pixels",
        env_var="BABELCLIP_MAX_PIXELS",
        validator=Number(gte=1),
        help="Width times height that a picture may have; 1,000,000,000 when left out. A pixel takes four bytes.",
    ),
]
TOP = Parameter(name=("--top", "-k"), validator=Number(gte=1))
"""How many to show, best first."""

KEY_VARIABLE = "BABELCLIP_KEY"
"""The environment variable that holds the key of a server."""


@Parameter(name="*", group="Model")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model runs, and on what."""

    model: str | None = None
    """The model: a folder, a hub name (org/name), or the address of a server (http://host:8080, its key in
    BABELCLIP_KEY, one of several models as http://host:8080#name); the bundled model when left out."""
    runtime: RuntimeOption = "auto"
    device: DeviceOption = None
    dtype: DtypeOption = None
    threads: ThreadsOption = None
    revision: RevisionOption = None
    max_pixels: MaxPixelsOption = None

    @property
    def image_limits(self) -> ImageLimits:
        """What a picture may be at most."""
        from babelclip.prepare.open_image import ImageLimits

        return ImageLimits() if self.max_pixels is None else ImageLimits(max_pixels=self.max_pixels)

    def open(self) -> AnyEncoder:
        """Load the model, or reach the server that has it.

        Raises:
            ConfigError: options that a server cannot be given.
            BabelclipError: as ``load`` and ``RemoteEncoder`` do.
        """
        import babelclip
        from babelclip.errors import ConfigError

        if self.model is not None and self.model.startswith(("http://", "https://")):
            named = {"--device": self.device, "--dtype": self.dtype, "--threads": self.threads}
            named |= {"--revision": self.revision, "--max-pixels": self.max_pixels}
            given = [name for name, value in named.items() if value is not None]
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
            image_limits=None if self.max_pixels is None else self.image_limits,
        )


def group_for(name: str, flag: str) -> Group:
    """Options that mean something only where a flag is given, which is one of them.

    What the environment or a file says of the others is no mistake without it, because other verbs use that.
    """

    def check(options: ArgumentCollection) -> None:
        if not any(flag in option.names and option.value is True for option in options):
            given = [option.name for option in options if any(token.source == "cli" for token in option.tokens)]
            if given:
                raise ValueError(
                    f"there is no use for {', '.join(given)} without {flag}: give it too, or leave that out"
                )

    return Group(name, validator=check)


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

        Raises:
            ConfigError: both are asked for.
        """
        from babelclip.errors import ConfigError

        if self.text and self.image:
            raise ConfigError("--text and --image exclude each other: give one, or neither and let names decide")
        return "text" if self.text else "image" if self.image else None
