"""A large file into the hub client's cache, resumable from one run to the next.

By hand, because huggingface_hub resumes within one call only: a program that is stopped loses what it had. Here
the bytes go into ``blobs/<etag>.babelclip.incomplete``, the next run asks for the rest (HTTP Range), and the finished
file takes the place where the client looks before it downloads. Where the etag is a SHA-256 (large files always), it is
checked.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import huggingface_hub

from babelclip.checkpoint.checksums import sha256
from babelclip.checkpoint.hub_modules import hub_module
from babelclip.errors import FetchError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RETRIES = 5  # in a row without a single new byte
_TIMEOUT = 30.0  # seconds without an answer


def download_large(repository: str, name: str, commit: str) -> None:
    """Put a file into the cache's blobs, so that ``hf_hub_download`` finds it; nothing to do where it is there.

    Raises:
        FetchError: the bytes that arrived are not the ones that the hub promised.
        HfHubHTTPError: the hub client's own, as others of it: not found, not reachable.
    """
    if isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=commit), str):
        return
    url = huggingface_hub.hf_hub_url(repository, name, revision=commit)
    facts = huggingface_hub.get_hf_file_metadata(url)
    if facts.etag is None or facts.size is None:
        raise FetchError(f"{url}: the hub gave no etag or size, so the file cannot be checked")
    blobs = Path(hub_module("constants").HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob, partial = blobs / facts.etag, blobs / f"{facts.etag}.babelclip.incomplete"
    with hub_module("utils").WeakFileLock(blobs / f"{facts.etag}.babelclip.lock"):  # two programs may want it at once
        if not blob.exists():
            _receive(url, partial, facts.size, name)
            _check(partial, facts.etag, facts.size, url)
            partial.replace(blob)


def _receive(url: str, partial: Path, size: int, name: str) -> None:
    """Append the bytes that are still missing, trying again while there is progress."""
    partial.touch()
    http_error = hub_module("errors").HfHubHTTPError.__bases__[0]  # of the HTTP library that this version uses
    transient: Any = (http_error, OSError)
    tries_left = _RETRIES
    bar_class = hub_module("utils").tqdm  # obeys HF_HUB_DISABLE_PROGRESS_BARS
    with bar_class(total=size, initial=partial.stat().st_size, desc=name, unit="B", unit_scale=True) as bar:
        while (start := partial.stat().st_size) < size:
            try:
                _append(url, partial, start, bar)
            except transient:
                tries_left = _RETRIES if partial.stat().st_size > start else tries_left - 1
                if not tries_left:
                    raise
                time.sleep(min(2.0 ** (_RETRIES - tries_left), 10.0))


def _append(url: str, partial: Path, start: int, bar: Any) -> None:
    """One request. A server that knows no Range sends everything again, and the file starts anew."""
    headers = hub_module("utils").build_hf_headers() | ({"Range": f"bytes={start}-"} if start else {})
    headers["Accept-Encoding"] = "identity"  # positions count bytes of the file itself
    with huggingface_hub.get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
        hub_module("utils").hf_raise_for_status(response)
        is_rest = response.status_code == 206
        with partial.open("ab" if is_rest else "wb") as stream:
            if start and not is_rest:
                bar.update(-start)
            for chunk in response.iter_bytes():  # as they come: a fixed size would hold back the last, broken one
                stream.write(chunk)
                bar.update(len(chunk))


def _check(partial: Path, etag: str, size: int, url: str) -> None:
    found = partial.stat().st_size
    if found == size and (not _SHA256.fullmatch(etag) or sha256(partial) == etag):
        return
    partial.unlink()
    reason = f"{found} bytes arrived, {size} were promised" if found != size else "their SHA-256 differs"
    raise FetchError(f"{url}: the bytes are not those that the hub promised ({reason}); they were deleted, try again")
