"""Nothing is reported to anybody: libraries that tell their makers how they are used are told not to.

Each reads a variable of the environment when it is loaded, so ``import babelclip`` sets these variables before anything
else happens, and every process that is started from there inherits them. This is the one place that decides. A value
that somebody set is left as it is, and ``babelclip doctor`` tells what holds.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

_MEANS_OFF = frozenset({"1", "true", "yes", "on"})  # in any case; every other value leaves it on


class Reporting(NamedTuple):
    """A library that reports, and what stops it."""

    library: str
    variable: str
    read_by: str
    """The module that reads the variable, once, when it is imported."""


ONNX_RUNTIME = Reporting("ONNX Runtime", "ORT_DISABLE_TELEMETRY", "onnxruntime")
"""Its wheels for Linux keep a device id and a database in the user's cache and look up their maker's collector."""
HUB_CLIENT = Reporting("huggingface_hub", "HF_HUB_DISABLE_TELEMETRY", "huggingface_hub.constants")
"""Its requests name torch's version and the program around it; hf-xet reports transfers and reads this variable too."""
REPORTING = (ONNX_RUNTIME, HUB_CLIENT)

_loaded_before: set[Reporting] = set()


def switch_off() -> None:
    """Set the variables that nobody has set; an empty one is not set. Warns where a library has begun already."""
    for each in REPORTING:
        if os.environ.get(each.variable):
            continue
        os.environ[each.variable] = "1"
        if each.read_by in sys.modules:
            _switch_off_late(each)


def _switch_off_late(library: Reporting) -> None:
    """The library was imported before babelclip, so it has read its variable."""
    if library is HUB_CLIENT:  # it asks its constant at each request
        sys.modules[library.read_by].HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
        return
    import logging  # takes a while to import, and everything that babelclip is waits for this module

    _loaded_before.add(library)
    logging.getLogger("babelclip").warning("%s", _too_late(library))


def _too_late(library: Reporting) -> str:
    return (
        f"{library.library} was imported before babelclip, so its own telemetry may be on in this process: import "
        f"babelclip first, or set {library.variable}=1 before the program starts"
    )


def telemetry() -> dict[str, str]:
    """Library -> "off", or why it is not."""
    return {each.library: _state(each) for each in REPORTING}


def _state(library: Reporting) -> str:
    if library in _loaded_before:
        return f"on: {_too_late(library)}"
    value = os.environ.get(library.variable, "")
    if value.lower() in _MEANS_OFF:
        return "off"
    return f"on, because {library.variable} is {value!r}; 1, or not set, switches it off"
