"""Modules of huggingface_hub, loaded when first needed: most of them bring an HTTP client along.

A file of its own, because fetching, downloading and model cards need it, and opening a model on disk needs none of it.
"""

from __future__ import annotations

import importlib
from typing import Any


def hub_module(name: str) -> Any:
    """A module by its name inside huggingface_hub."""
    return importlib.import_module(f"huggingface_hub.{name}")
