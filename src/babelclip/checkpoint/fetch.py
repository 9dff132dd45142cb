"""Downloads models: folders from a hub that speaks the Hugging Face protocol, into its usual cache.

A name is resolved to a commit once and remembered (``pins.json`` in the user's cache), so the same name gives the same
weights until `update` is asked for, and a complete model needs no network. ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``
and ``HF_HUB_OFFLINE`` mean what they mean to huggingface_hub. What it sends is its own version, Python's and the user's
token where there is one; its telemetry is off (``babelclip.no_telemetry``).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub

from babelclip.atomic_write import write_json
from babelclip.checkpoint.folder import (
    CARD,
    CONFIG,
    PREPROCESSING,
    PREPROCESSOR_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    WEIGHTS_INDEX,
    ModelFolder,
    read_folder,
)
from babelclip.checkpoint.hub_modules import hub_module
from babelclip.checkpoint.named_models import NAMED_MODELS, find_pulled
from babelclip.checkpoint.resumable_download import download_large
from babelclip.decode import decode, decode_as, parse_json
from babelclip.errors import ConfigError, FetchError, FolderError
from babelclip.user_folders import user_cache

REQUIRED = (CONFIG, TOKENIZER)
_OPTIONAL = (TOKENIZER_CONFIG, PREPROCESSOR_CONFIG, PREPROCESSING, "checksums.json", CARD)
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")

KNOWN_LICENSES = {"jinaai/jina-clip-v2": "cc-by-nc-4.0", "jinaai/jina-embeddings-v3": "cc-by-nc-4.0"}
"""For mirrors that serve the files but not the card."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model in the local cache."""

    path: Path  # a model folder
    repository: str
    revision: str  # commit
    license: str  # as the card states it, "not stated" where it does not


@dataclass(frozen=True, slots=True)
class _Pin:
    """What a name means: an entry of the pins."""

    revision: str
    license: str
    files: tuple[str, ...]

    def __post_init__(self) -> None:
        strange = [name for name in self.files if not re.fullmatch(r"\w[\w.-]*", name)]
        if not _COMMIT.fullmatch(self.revision) or strange:  # both become paths
            raise ConfigError(f"expected a commit and names of files, found {[self.revision, *strange][-1]!r:.100}")


def open_folder(source: str | Path, *, revision: str | None = None) -> ModelFolder:
    """A model folder from a path, by the name of a model that was pulled, or from the hub.

    A folder that exists comes first; the hub is asked where `source` has the form org/name.

    Raises:
        FolderError: as `read_folder`.
        ConfigError: as `read_folder`.
        WeightsError: as `read_folder`.
        FetchError: the model cannot be fetched.
    """
    if Path(source).expanduser().exists():
        if revision is not None:
            raise FetchError(f"{source} is a folder on this machine; a revision is for models of the hub")
        return read_folder(source)
    if str(source) in NAMED_MODELS:
        if revision is not None:
            raise FetchError(f"{source} is made on this machine; a revision is for models of the hub")
        return read_folder(find_pulled(str(source)))
    if not _REPOSITORY.fullmatch(str(source)):
        raise FolderError(f"there is no folder {source}, and it is not the name of a model on the hub (org/name)")
    fetched = fetch_model(str(source), revision=revision)
    return read_folder(fetched.path, name=fetched.repository, revision=fetched.revision)


def fetch_model(
    repository: str,
    *,
    revision: str | None = None,
    update: bool = False,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Fetched:
    """Bring a model's needed files into the local cache; what is there already is not asked for again.

    Args:
        repository: its name on the hub, org/name.
        revision: commit, branch or tag; None is the branch main as it was when first asked for.
        update: ask the hub anew what the name means.
        say: takes one line: the license, at the first use of a commit.

    Raises:
        FetchError: not reachable, not found, not allowed, offline and not complete, or no model that babelclip reads.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise FetchError(f"{repository!r} is not the name of a model on the hub (org/name)")
    key = f"{repository}@{revision or 'main'}"
    pin = None if update else _read_pins().get(key)
    if pin is not None and (path := _complete(repository, pin)) is not None:
        return Fetched(path, repository, pin["revision"], pin["license"])
    if huggingface_hub.is_offline_mode():
        return _from_cache_alone(repository, pin["revision"] if pin else revision)
    with _explained(repository, revision):
        if pin is None:
            pin = _resolve(repository, revision, say)
            _remember(key, pin)
        path = _download(repository, pin)
        _remember(key, pin)
    return Fetched(path, repository, pin["revision"], pin["license"])


# ---------------------------------------------------------------- what and where


def _resolve(repository: str, revision: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Ask the hub what a name means now: commit, files, license."""
    info = huggingface_hub.model_info(repository, revision=revision)
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise FetchError(f"the hub gave no commit for {repository} (got {info.sha!r}), so nothing can be pinned")
    files = [sibling.rfilename for sibling in info.siblings or []]
    stated = getattr(info.card_data, "license", None) or _license_tag(info.tags or [])
    license_name = str(stated or KNOWN_LICENSES.get(repository, "not stated"))
    terms = " (no commercial use without the makers' consent)" if "-nc" in license_name else ""
    endpoint = hub_module("constants").ENDPOINT
    say(f"babelclip: {repository} at {info.sha[:12]}; license: {license_name}{terms}; see {endpoint}/{repository}")
    return {"revision": info.sha, "license": license_name, "files": _needed(repository, files)}


def _license_tag(tags: list[str]) -> str | None:
    return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)


def _needed(repository: str, files: list[str]) -> list[str]:
    """The files to fetch, without the shards that an index will name; other weights and exports are left alone."""
    weights = [name for name in (WEIGHTS, WEIGHTS_INDEX) if name in files][:1]
    missing = [name for name in REQUIRED if name not in files] + ([] if weights else [WEIGHTS])
    if missing:
        shown = ", ".join(sorted(files)[:12]) or "nothing"
        raise FetchError(f"{repository} has no {', no '.join(missing)}, so babelclip cannot read it; it has {shown}")
    return [*REQUIRED, *(name for name in _OPTIONAL if name in files), *weights]


def _download(repository: str, pin: dict[str, Any]) -> Path:
    """Fetch what the pin lists, small files first; shards are added to the pin when their index is here."""
    path = Path()
    for name in pin["files"]:
        path = _fetch_file(repository, name, pin["revision"])
        if name == WEIGHTS_INDEX:
            pin["files"] += [shard for shard in _shards(path) if shard not in pin["files"]]
    return path.parent


def _fetch_file(repository: str, name: str, commit: str) -> Path:
    if name.endswith(".safetensors"):
        download_large(repository, name, commit)
    return Path(huggingface_hub.hf_hub_download(repository, name, revision=commit))


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(parse_json(index.read_text())["weight_map"].values()))
        strange = [name for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", name)]
        if strange:  # each becomes a path
            raise ValueError(f"{strange[0]!r} is no name of a file of weights")
        return names
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{index} is not an index of sharded weights: {error}") from error


# ---------------------------------------------------------------- without the network


def _complete(repository: str, pin: dict[str, Any]) -> Path | None:
    """The folder of a pinned model where every file is in the cache."""
    config = _cached(repository, CONFIG, pin["revision"])
    if config is None or any(_cached(repository, name, pin["revision"]) is None for name in pin["files"]):
        return None
    if WEIGHTS_INDEX in pin["files"] and not set(_shards(config.parent / WEIGHTS_INDEX)) <= set(pin["files"]):
        return None  # stopped between the index and its shards
    return config.parent


def _from_cache_alone(repository: str, revision: str | None) -> Fetched:
    """A model that another program, or an earlier run, has left complete in the cache."""
    config = _cached(repository, CONFIG, revision or "main")
    ways_out = f"unset it, run `babelclip model pull {repository}` where there is a network, or give a folder"
    if config is None:
        cache = hub_module("constants").HF_HUB_CACHE
        raise FetchError(f"HF_HUB_OFFLINE is set and {repository} is not in the cache {cache}: {ways_out}")
    folder = config.parent
    try:
        files = _needed(repository, [file.name for file in folder.iterdir()])
        wanted = files + (_shards(folder / WEIGHTS_INDEX) if WEIGHTS_INDEX in files else [])
    except FetchError as error:
        raise FetchError(f"HF_HUB_OFFLINE is set and {repository} is not complete in {folder}: {ways_out}") from error
    absent = ", ".join(name for name in wanted if not (folder / name).is_file())
    if absent:
        raise FetchError(f"HF_HUB_OFFLINE is set and {absent} of {repository} is not in {folder}: {ways_out}")
    return Fetched(folder, repository, folder.name, KNOWN_LICENSES.get(repository, "not stated"))


def _cached(repository: str, name: str, revision: str) -> Path | None:
    found = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


# ---------------------------------------------------------------- pins and errors


def _pins_file() -> Path:
    return user_cache() / "pins.json"


def _read_pins() -> dict[str, Any]:
    file = _pins_file()
    if not file.is_file():
        return {}
    try:
        pins: dict[str, Any] = decode_as(dict[str, Any], parse_json(file.read_text()), "pins")
        for name, pin in pins.items():
            decode(_Pin, pin, name)
        return pins
    except (OSError, ValueError, TypeError) as error:  # not passed over: a lost pin may mean other weights
        raise FetchError(f"{file} is unreadable ({error}); it pins names to commits. Delete it to ask anew") from error


def _remember(key: str, pin: dict[str, Any]) -> None:
    file = _pins_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {**_read_pins(), key: pin})
    except OSError as error:
        raise FetchError(f"cannot write {file} ({error}); set BABELCLIP_CACHE to another folder") from error


@contextlib.contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub client raises into one error that says what to do."""
    errors = hub_module("errors")
    endpoint = hub_module("constants").ENDPOINT
    http_error: Any = errors.HfHubHTTPError.__bases__[0]  # of the HTTP library that this version of the client uses
    try:
        yield
    except errors.GatedRepoError as error:
        raise FetchError(f"{repository} is for those who accepted its terms on its page and log in") from error
    except errors.RepositoryNotFoundError as error:
        where = f"there is no folder {repository}, and {endpoint} has no such model"
        raise FetchError(f"{where}, or it is private (log in with `hf auth login`)") from error
    except errors.RevisionNotFoundError as error:
        raise FetchError(f"{repository} has no revision {revision}") from error
    except errors.EntryNotFoundError as error:
        raise FetchError(f"{repository}: a file that should be there is not: {error}") from error
    except (http_error, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FetchError(
            f"{repository} could not be fetched from {endpoint}: {reason}. "
            "What has arrived is kept: try again, or set HF_HUB_OFFLINE=1 to use a complete copy in the cache"
        ) from error
