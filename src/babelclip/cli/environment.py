"""Every variable of the environment that babelclip reads: what it means, and which commands it concerns.

``--help`` of every verb names its own, ``docs/reference/environment.md`` holds them all, and a test finds in the
source that none is missing here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable."""

    name: str
    meaning: str
    flags: tuple[str, ...] = ()
    """A verb reads it when it has one of these options; every verb does where there are none."""
    unless: tuple[str, ...] = ()
    """A verb that has one of these does not."""
    is_former: bool = False
    """It is not read any more."""


HUB = ("--revision",)
CACHE = ("--runtime", "--index", "--tower")
PIXELS = ("--max-pixels",)
TRAINING = ("--resume",)
EVALUATION = ("--suite",)

VARIABLES = (
    Variable("BABELCLIP_CONFIG", "The configuration file, in place of the one in the user's folder."),
    Variable("BABELCLIP_INDEX", "The index of commands that name none, as --index says it.", ("--index",)),
    Variable("BABELCLIP_MAX_PIXELS", "Width times height that a picture may have, as --max-pixels says it.", PIXELS),
    Variable("BABELCLIP_CACHE", "Folder for what can be made again: graphs of models, thumbnails.", CACHE),
    Variable("BABELCLIP_KEY", "The key of the server whose address --model names.", ("--runtime",), ("--served-name",)),
    Variable("BABELCLIP_DATASETS", "Folder with data to train and evaluate on, as --data says it.", ("--data",)),
    Variable("BABELCLIP_HOST", "Address that the API listens at, as serve --host says it.", ("--served-name",)),
    Variable("BABELCLIP_MODE", "api or sagemaker, as serve --mode says it.", ("--served-name",)),
    Variable(
        "BABELCLIP_SERVE_",
        "Begins a variable for every option of the server: BABELCLIP_SERVE_MAX_ITEMS=512 is --max-items 512.",
        ("--served-name",),
    ),
    Variable(
        "BABELCLIP_UI_",
        "Begins a variable for every option of the page alone: BABELCLIP_UI_PAGE_HITS=600 is --page-hits 600.",
        ("--page-name",),
        ("--served-name",),
    ),
    Variable(
        "BABELCLIP_DATA",
        "Not read any more: it meant two folders, which BABELCLIP_INDEX and BABELCLIP_DATASETS name now.",
        is_former=True,
    ),
    Variable("QDRANT_API_KEY", "Key of the Qdrant server that holds an index.", ("--index",)),
    Variable("HF_HUB_OFFLINE", "1: nothing is fetched from the hub, only its cache is read.", HUB),
    Variable("HF_HOME", "Where the hub's client keeps its cache and its token.", HUB),
    Variable("HF_ENDPOINT", "Address of another hub.", HUB),
    Variable("HF_TOKEN", "Token for models of the hub that are not open to all.", HUB),
    Variable("ORT_DISABLE_TELEMETRY", "ONNX Runtime reports nothing to its maker; 1 where it is not set."),
    Variable("HF_HUB_DISABLE_TELEMETRY", "The hub's client sends no statistics; 1 where it is not set.", HUB),
    Variable("OMP_NUM_THREADS", "Threads of one computation where --threads does not say.", ("--threads",)),
    Variable("OPENBLAS_NUM_THREADS", "Noted in result files, because it changes times.", EVALUATION),
    Variable("MKL_NUM_THREADS", "Noted in result files, because it changes times.", EVALUATION),
    Variable("RANK", "Number of this process among those that train; torchrun sets it.", TRAINING),
    Variable("LOCAL_RANK", "Number of this process on this machine; torchrun sets it.", TRAINING),
    Variable("XDG_CACHE_HOME", "The system's folder for caches, on Linux.", CACHE),
    Variable("XDG_DATA_HOME", "The system's folder for data of programs, on Linux.", ("--index",)),
    Variable("XDG_CONFIG_HOME", "The system's folder for configuration, on Linux."),
    Variable("LOCALAPPDATA", "The system's folder for caches, data and configuration, on Windows."),
    Variable("DISPLAY", "Whether a browser can open a window here, on Linux.", ("--open",)),
    Variable("WAYLAND_DISPLAY", "Whether a browser can open a window here, on Linux.", ("--open",)),
)


def variables_for(flags: Collection[str]) -> tuple[Variable, ...]:
    """What a command with these options reads."""
    return tuple(
        variable
        for variable in VARIABLES
        if (not variable.flags or not set(variable.flags).isdisjoint(flags)) and set(variable.unless).isdisjoint(flags)
    )
