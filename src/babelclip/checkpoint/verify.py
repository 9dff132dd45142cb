"""Is this folder whole, and is it what it says? The checks behind ``babelclip model verify``.

published_numbers.json holds what the makers of jina-clip-v2 published about its vectors, where the input is known too
(their two photos are not). No check of these was ever run on the real file; see docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from babelclip.checkpoint.checksums import CHECKSUMS, sha256, wrong_checksums
from babelclip.checkpoint.folder import ModelFolder, read_folder
from babelclip.checkpoint.weights import names_not_finite
from babelclip.decode import parse_json
from babelclip.errors import BabelclipError
from babelclip.towers.config import DualConfig

SAMPLE_COSINE = 0.999  # at least; the makers' service computes in half precision
SAMPLE_NORM = 0.02  # relative
SIMILARITY = 0.01  # absolute; which float type their example ran in is not known for sure

_BLOB = re.compile(r"[0-9a-f]{64}")  # the hub client names large files by their SHA-256


class EncodeText(Protocol):
    """``Encoder.encode_text``, as far as it is needed here."""

    def __call__(self, texts: Sequence[str], *, task: str | None, normalize: bool) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer; `passed` is None where the question could not be asked."""

    what: str
    passed: bool | None
    detail: str


def verify_folder(path: str | Path | ModelFolder, *, encode_text: EncodeText | None = None) -> list[Check]:
    """All checks, in order; nothing is raised for a folder that fails one.

    `encode_text` runs the model, for the numbers that the makers of jina-clip-v2 published; without it they are not
    compared. The folder is good where no check has `passed` False.
    """
    try:
        folder = path if isinstance(path, ModelFolder) else read_folder(path)
    except BabelclipError as error:
        return [Check("configuration", False, str(error))]
    checks = [Check("configuration", True, f"{folder.name}, layout {folder.layout}"), _tensors(folder)]
    checks += [_checksums(folder), _tokenizer(folder)]
    if checks[1].passed:
        checks.append(_finite(folder))
        if is_jina_clip_v2(folder):
            checks += _published_numbers(encode_text)
    return checks


def is_jina_clip_v2(folder: ModelFolder) -> bool:
    """By layout and sizes: the published model, or one fine-tuned from it."""
    published = DualConfig.jina_clip_v2()
    return folder.layout == "jina_clip" and replace(folder.config, dims=published.dims) == published


def _tensors(folder: ModelFolder) -> Check:
    try:
        index = folder.tensor_index()
    except BabelclipError as error:
        return Check("names and shapes", False, str(error))
    dtypes = sorted({entry.dtype for entry in index.values()})
    size = sum(entry.nbytes for entry in index.values())
    return Check("names and shapes", True, f"{len(index)} tensors, {size:,} bytes, {', '.join(dtypes)}")


def _checksums(folder: ModelFolder) -> Check:
    if (folder.path / CHECKSUMS).is_file():
        try:
            wrong = wrong_checksums(folder.path)
        except BabelclipError as error:
            return Check("checksums", False, str(error))
        return Check("checksums", not wrong, "; ".join(wrong) or f"every file is as {CHECKSUMS} lists it")
    if folder.layout == "babelclip":
        return Check("checksums", False, f"{CHECKSUMS} is absent")
    named = [file for file in folder.weight_files if _BLOB.fullmatch(file.resolve().name)]
    wrong = [file.name for file in named if sha256(file) != file.resolve().name]
    if named:
        detail = f"not the bytes of the hub: {', '.join(wrong)}" if wrong else "weights as on the hub"
        return Check("checksums", not wrong, detail)
    digests = ", ".join(f"{file.name} {sha256(file)}" for file in folder.weight_files)
    return Check("checksums", None, f"the published layout lists none; compare with the hub's page: {digests}")


def _tokenizer(folder: ModelFolder) -> Check:
    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer_file))
    except Exception as error:  # the tokenizers library raises plain Exception
        return Check("tokenizer", False, f"{folder.tokenizer_file.name}: {error}")
    size, pad = tokenizer.get_vocab_size(), tokenizer.token_to_id("<pad>")
    rows, pad_id = folder.config.text.vocab_size, folder.config.text.pad_id
    if size > rows:
        return Check("tokenizer", False, f"it has {size} pieces, the text tower embeds {rows}")
    if pad != pad_id:
        return Check("tokenizer", False, f"its <pad> is {pad}, the text tower's is {pad_id}")
    return Check("tokenizer", True, f"{size} pieces for {rows} rows")


def _finite(folder: ModelFolder) -> Check:
    bad = names_not_finite(folder.tensor_index())
    more = f", and {len(bad) - 10} more" if len(bad) > 10 else ""
    return Check("finite weights", not bad, f"not finite: {', '.join(bad[:10])}{more}" if bad else "all of them")


# ---------------------------------------------------------------- numbers that the makers published


def published_numbers() -> dict[str, Any]:
    """Content of published_numbers.json."""
    content: dict[str, Any] = parse_json(
        resources.files("babelclip.checkpoint").joinpath("published_numbers.json").read_text(encoding="utf-8")
    )
    return content


def _published_numbers(encode_text: EncodeText | None) -> Iterator[Check]:
    if encode_text is None:
        yield Check("published numbers", None, "not compared: no runtime was given to run the model")
        return
    numbers = published_numbers()
    yield _sample_vector(numbers["sample"], encode_text)
    yield _similarities(numbers["similarities"], encode_text)


def _sample_vector(sample: dict[str, Any], encode_text: EncodeText) -> Check:
    """The makers' own vector of one text, raw."""
    found = np.asarray(encode_text([sample["text"]], task=sample["task"], normalize=False), np.float64)[0]
    expected = np.asarray(sample["vector"], np.float64)
    norms = float(np.linalg.norm(found)), float(np.linalg.norm(expected))
    cosine = float(found @ expected) / (norms[0] * norms[1])
    passed = cosine >= SAMPLE_COSINE and abs(norms[0] / norms[1] - 1) <= SAMPLE_NORM
    detail = f"cosine {cosine:.6f} (at least {SAMPLE_COSINE}), length {norms[0]:.3f} (published {norms[1]:.3f})"
    return Check("published vector", passed, detail)


def _similarities(facts: dict[str, Any], encode_text: EncodeText) -> Check:
    """The query of the model card against one sentence in nine languages."""
    query = encode_text([facts["query"]], task=facts["task"], normalize=True)
    texts = encode_text(facts["texts"], task=None, normalize=True)
    difference = float(np.abs(texts @ query[0] - np.asarray(facts["cosines"])).max())
    return Check("published similarities", difference <= SIMILARITY, f"off by {difference:.4f} (at most {SIMILARITY})")
