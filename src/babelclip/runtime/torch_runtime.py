"""The towers themselves, in torch: device and dtype are decided here and told in ``facts()``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from babelclip.arrays import NO_ADAPTER, ImageBatch, TextBatch, Vectors
from babelclip.checkpoint.convert import load_towers
from babelclip.checkpoint.folder import ModelFolder
from babelclip.errors import ConfigError, RuntimeUnavailable
from babelclip.runtime.check_vector import (
    MIN_CHECK_COSINE,
    MIN_CHECK_COSINE_HALF,
    check_image_batch,
    check_text_batch,
    compare_check_vector,
)
from babelclip.runtime.exported import Tower
from babelclip.towers.dual import DualEncoder

_logger = logging.getLogger("babelclip")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TorchRuntime:
    """Runs towers in inference mode. Threads may share one runtime.

    ``merged_adapter`` is the index of the adapter that is merged into the text weights: batches have to ask for it and
    for no other. ``None``: nothing is merged, the text tower chooses by row if it has adapters.
    """

    def __init__(
        self,
        towers: DualEncoder,
        device: torch.device,
        merged_adapter: int | None = None,
        expected: Mapping[Tower, Vectors] | None = None,
    ) -> None:
        self.towers = towers.to(device).eval()
        self._unchecked = dict(expected or {})
        if merged_adapter is not None:
            self._unchecked.pop("text", None)  # it was stored for the text tower without adapters
        self._checking = threading.Lock()
        self._device = device
        self._merged_adapter = merged_adapter
        self._dtype = next(towers.text.parameters()).dtype
        self._process = os.getpid()

    @torch.inference_mode()
    def run_text(self, batch: TextBatch) -> Vectors:
        """(B, T) token ids -> (B, E)."""
        self._notice_fork()
        self._check("text")
        return self._text(batch)

    @torch.inference_mode()
    def run_images(self, batch: ImageBatch) -> Vectors:
        """(B, 3, S, S) pixels -> (B, E)."""
        self._notice_fork()
        self._check("image")
        return self._images(batch)

    def _check(self, tower: Tower) -> None:
        """Compare this machine's vector with the stored one, where there is one, at the first use of a tower."""
        if tower not in self._unchecked:
            return
        with self._checking:
            expected = self._unchecked.get(tower)
            if expected is None:  # another thread was first
                return
            if tower == "text":
                found = self._text(check_text_batch())
            else:
                assert self.towers.config.vision is not None
                found = self._images(check_image_batch(self.towers.config.vision.image_size))
            least = MIN_CHECK_COSINE if self._dtype == torch.float32 else MIN_CHECK_COSINE_HALF
            facts = self.facts()
            what = f"the {tower} tower in torch ({facts['device']}, {facts['dtype']})"
            compare_check_vector(what, found[0], expected, least)
            del self._unchecked[tower]

    def _text(self, batch: TextBatch) -> Vectors:
        adapters = None
        if self.towers.config.text.adapters is not None:
            adapters = torch.from_numpy(batch.adapters).to(self._device)
        else:
            available = NO_ADAPTER if self._merged_adapter is None else self._merged_adapter
            if (batch.adapters != available).any():
                asked = sorted(set(batch.adapters.tolist()))
                raise ConfigError(f"the batch asks for adapters {asked}; this text tower runs with {available} alone")
        vectors = self.towers.text(torch.from_numpy(batch.token_ids).to(self._device), adapters)
        return _to_numpy(vectors)

    def _images(self, batch: ImageBatch) -> Vectors:
        if self.towers.vision is None:
            raise ConfigError("this model has no image tower")
        pixels = torch.from_numpy(batch.pixels).to(self._device, self._dtype)
        return _to_numpy(self.towers.vision(pixels))

    def _notice_fork(self) -> None:
        """Torch's threads do not survive a fork, and a computation would wait for them for ever."""
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)
            _logger.warning(
                "torch computes in one thread in process %d, because it was forked after the model had been opened; "
                "workers that are spawned, or that load the model themselves, use more",
                self._process,
            )

    def facts(self) -> dict[str, str | int]:
        """Runtime, device, dtype and threads as they really are."""
        return {
            "runtime": "torch",
            "runtime_version": str(torch.__version__),
            "device": str(self._device),
            "dtype": str(self._dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }


def open_torch(
    folder: ModelFolder,
    device: str | None = None,
    dtype: str | None = None,
    adapters: Literal["auto", "live", "merged"] = "auto",
    expected: Mapping[Tower, Vectors] | None = None,
) -> TorchRuntime:
    """The folder's towers.

    Args:
        folder: of the model.
        device: as torch spells it; None: cpu.
        dtype: float32 (also None) or bfloat16.
        adapters: as in ``load_towers``.
        expected: check vectors (E,), which each tower must compute before its first answer.

    Raises:
        ConfigError: an unknown dtype or device name.
        RuntimeUnavailable: a device that this machine or this build of torch does not have.
    """
    if dtype not in (None, *DTYPES):
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, found {dtype!r}")
    chosen = _device(device)
    towers = load_towers(folder, adapters=adapters, dtype=DTYPES[dtype or "float32"])
    prepare = folder.text_prepare
    is_merged = folder.config.text.adapters is not None and towers.config.text.adapters is None
    merged = None
    if is_merged:
        assert prepare.always_adapter is not None
        merged = prepare.adapters.index(prepare.always_adapter)
    return TorchRuntime(towers, chosen, merged, expected)


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or "cpu")
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: {error}") from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RuntimeUnavailable(
            f"device {name!r} cannot be used with torch {torch.__version__} here ({error}). "
            "Choose device='cpu', or install a build of torch for this device."
        ) from error
    return device


def _to_numpy(vectors: torch.Tensor) -> Vectors:
    return np.asarray(vectors.float().cpu().numpy())
