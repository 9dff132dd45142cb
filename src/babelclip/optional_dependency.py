"""What an extra brings may be missing: one way to say what needs it, and what to type to get it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from babelclip.errors import RuntimeUnavailable

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "export": ("torch", "onnx", "onnx_ir", "onnxscript"),
    "train": ("torch", "onnx", "onnx_ir", "onnxscript", "matplotlib", "pyarrow"),
    "server": ("fastapi", "starlette", "uvicorn", "httptools", "orjson", "httpcore", "idna", "prometheus_client"),
    "tensorboard": ("tensorboard",),
    "heif": ("pillow_heif",),
    "pdf": ("pypdfium2",),
    "postgres": ("psycopg",),
    "qdrant": ("qdrant_client",),
    "lance": ("lancedb", "pyarrow"),
    "evaluate": ("pyarrow",),
    "parquet": ("pyarrow",),
}
"""Extra -> the packages that it brings, as they are imported."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return find_spec(package) is not None


def install_line(extra: str) -> str:
    """What to type to get an extra."""
    return f"pip install 'babelclip[{extra}]'"


def missing_package(what: str, package: str, extra: str) -> RuntimeUnavailable:
    """The error to raise where a package of an extra is not installed.

    Args:
        what: what needs the package; the message begins with it.
    """
    return RuntimeUnavailable(f"{what} needs {package}, which is not installed: {install_line(extra)}")


@contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """For a block of imports: `what` needs the packages of an extra.

    Raises:
        RuntimeUnavailable: one of them is not installed; the message names it, the extra and the command.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS[extra]:
            raise
        raise missing_package(what, package, extra) from error
