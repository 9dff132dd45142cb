"""Fit what a finished model's scores mean, on photos that it was not trained on, and keep it in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from babelclip.checkpoint.checksums import CHECKSUMS, write_checksums
from babelclip.checkpoint.folder import read_folder
from babelclip.encoder import Encoder, open_encoder
from babelclip.encodes import StreamItem
from babelclip.errors import DatasetError, FolderError
from babelclip.progress import show_progress
from babelclip.score_calibration import (
    CALIBRATION,
    Pool,
    ScoreCalibration,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from babelclip.train.data.captioned_images import CaptionedImages, all_captions, open_captioned_images


def calibrate(model: Path, pools: Sequence[Path], *, progress: bool = False) -> ScoreCalibration:
    """Write ``calibration.json`` into a model folder.

    Args:
        model: The folder.
        pools: Each a set of images with captions, as the trainer reads them; a caption that several of them share is
            right for each. The model must not have been trained on them, else every chance is too high.
        progress: Whether it is shown.

    Raises:
        ConfigError: Too few photos.
        DatasetError: What is no data.
        FolderError: What is no model folder.
    """
    folder = read_folder(model)
    fingerprint = folder.fingerprint()
    try:
        read_calibration(folder.path, fingerprint)
    except FolderError:  # one of another model, which would keep the model from opening
        (folder.path / CALIBRATION).unlink()
    encoder = open_encoder(model)
    embedded = [embed_pool(encoder, open_captioned_images(pool), str(pool), progress) for pool in pools]
    calibration = fit_calibration(fingerprint, embedded, folder.config.dims)
    write_calibration(folder.path, calibration)
    if (folder.path / CHECKSUMS).is_file():
        write_checksums(folder.path)
    return calibration


def embed_pool(encoder: Encoder, images: CaptionedImages, name: str, progress: bool = False) -> Pool:
    """The vectors of images and of distinct captions; images that cannot be read are left out.

    Raises:
        DatasetError: None is left.
    """
    found: list[StreamItem] = []
    with show_progress("photos", len(images), show=progress) as meter:
        for item in encoder.stream((image.read() for image in images), kind="image"):
            found.append(item)
            meter.advance()
    read = [images[item.index] for item in found if item.vector is not None]
    if not read:
        raise DatasetError(f"{name}: no image with captions could be read")
    texts = {text: number for number, text in enumerate(dict.fromkeys(all_captions(read)))}
    right = np.zeros((len(texts), len(read)), np.bool_)
    for column, image in enumerate(read):
        right[[texts[text] for text in all_captions([image])], column] = True
    vectors = np.stack([item.vector for item in found if item.vector is not None])
    return Pool(vectors, encoder.encode_text(list(texts), progress=progress), right)
