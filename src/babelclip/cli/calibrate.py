"""``babelclip model calibrate``: fit what a model's scores mean."""

from __future__ import annotations

from pathlib import Path


def calibrate(model: Path, photos: list[Path], /) -> int:
    """Fit what a model's scores mean, so that a search can tell chances beside cosines; kept in the model's folder.

    Args:
        model: Model folder that can be written.
        photos: Sets of photos with captions that the model was not trained on, together a hundred photos or more:
            folders with captions.csv, or tar shards, as for training. Photos with names as captions teach it what short
            queries mean.
    """
    from babelclip.errors import RuntimeUnavailable

    try:
        from babelclip.train.calibrate import calibrate as fit
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        raise RuntimeUnavailable("this needs pyarrow; install it with: pip install 'babelclip[train]'") from error
    reading = fit(model, photos, progress=True)
    print(f"fitted on {reading.texts:,} captions of {reading.photos:,} photos: {model / 'reading.json'}")
    return 0
