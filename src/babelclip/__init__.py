"""babelclip: texts in many languages and images in one vector space.

    import babelclip
    encoder = babelclip.load()
    texts = encoder.encode_text(["a bridge at dawn", "黎明的桥"])
    images = encoder.encode_image(["bridge.jpg"])
    babelclip.similarity(texts, images)

Importing the package loads nothing heavy: each name brings what it needs when it is first used. It does switch off the
telemetry of libraries that come with it (``babelclip.no_telemetry``), before one of them is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from babelclip.errors import (
    BabelclipError,
    ConfigError,
    DamagedImageWarning,
    DatasetError,
    FetchError,
    FolderError,
    ImageError,
    InputError,
    ItemsError,
    ModelDiffers,
    RuntimeUnavailable,
    ServerError,
    StoreError,
    TextError,
    TruncationWarning,
    UnknownTask,
    WeightsError,
)
from babelclip.no_telemetry import switch_off as _switch_off_telemetry
from babelclip.version import __version__

if TYPE_CHECKING:
    from os import PathLike

    from babelclip.encoder import Encoder
    from babelclip.encodes import Encodes, StreamItem
    from babelclip.prepare.open_image import ImageLimits
    from babelclip.remote.remote_encoder import RemoteEncoder
    from babelclip.search.filters import Eq, Filter, In, Prefix, Range
    from babelclip.search.index import Hit, Index
    from babelclip.search.indexing import Report
    from babelclip.search.query import Query
    from babelclip.search.walk import Wanted
    from babelclip.vectors import quantize, similarity

_switch_off_telemetry()

__all__ = [
    "BabelclipError",
    "ConfigError",
    "DamagedImageWarning",
    "DatasetError",
    "Encoder",
    "Encodes",
    "Eq",
    "FetchError",
    "Filter",
    "FolderError",
    "Hit",
    "ImageError",
    "ImageLimits",
    "In",
    "Index",
    "InputError",
    "ItemsError",
    "ModelDiffers",
    "Prefix",
    "Query",
    "Range",
    "RemoteEncoder",
    "Report",
    "RuntimeUnavailable",
    "ServerError",
    "StoreError",
    "StreamItem",
    "TextError",
    "TruncationWarning",
    "UnknownTask",
    "Wanted",
    "WeightsError",
    "__version__",
    "load",
    "quantize",
    "similarity",
]

_HOMES = {
    "Eq": "babelclip.search.filters",
    "Filter": "babelclip.search.filters",
    "Hit": "babelclip.search.index",
    "ImageLimits": "babelclip.prepare.open_image",
    "In": "babelclip.search.filters",
    "Prefix": "babelclip.search.filters",
    "Range": "babelclip.search.filters",
    "Report": "babelclip.search.indexing",
    "Wanted": "babelclip.search.walk",
    "Encoder": "babelclip.encoder",
    "Encodes": "babelclip.encodes",
    "Index": "babelclip.search.index",
    "Query": "babelclip.search.query",
    "RemoteEncoder": "babelclip.remote.remote_encoder",
    "StreamItem": "babelclip.encodes",
    "quantize": "babelclip.vectors",
    "similarity": "babelclip.vectors",
}


def load(
    source: str | PathLike[str] | None = None,
    *,
    runtime: Literal["auto", "onnx", "torch"] = "auto",
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    revision: str | None = None,
    image_limits: ImageLimits | None = None,
) -> Encoder:
    """Open a model.

    Args:
        source: a model folder, or the name of a model on the hub ("org/name") where there is no such folder; None: the
            bundled model, which needs no network.
        runtime: "onnx" needs no torch; "torch" knows devices and dtypes; "auto" takes onnx where it can and says what
            it chose (``Encoder.facts()``).
        device: "cpu" (None too), or what torch knows ("cuda").
        dtype: "float32" (None too) or "bfloat16", with torch.
        threads: for the arithmetic of one call; None: the physical cores that this process may use. With torch the
            number holds for the whole process.
        revision: of a model on the hub: a commit, a branch or a tag.
        image_limits: what an image may be at most; ``ImageLimits()`` when left out.

    Raises:
        FolderError: the folder is no model folder.
        WeightsError: the folder is broken.
        ConfigError: the folder asks for what babelclip does not have.
        FetchError: the model cannot be fetched.
        RuntimeUnavailable: nothing at hand can run it; the message names the ways out.
    """
    from os import fspath

    from babelclip.encoder import open_encoder

    path = None if source is None else fspath(source)
    return open_encoder(
        path,
        runtime=runtime,
        device=device,
        dtype=dtype,
        threads=threads,
        revision=revision,
        image_limits=image_limits,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'babelclip' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
