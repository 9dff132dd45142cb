"""Standard scores are those of the rows themselves; chances come true; a reading belongs to its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from babelclip.arrays import Vectors
from babelclip.errors import ConfigError, FolderError
from babelclip.score_calibration import Pool, ScoreCalibration, fit_calibration, read_calibration, write_calibration
from babelclip.score_normalization import DIRECTIONS, ScoreNormalization
from babelclip.vectors import finish

WIDTH, CUT = 96, 64


def rows(count: int, seed: int, around: float = 1.0) -> Vectors:
    """Unit vectors (N, E) around a mean of their own, with a few strong directions."""
    random = np.random.default_rng(seed)
    axes = np.random.default_rng(7).normal(size=(8, WIDTH))
    return finish(
        around * axes[0] / 6 + random.normal(size=(count, 8)) @ axes / 9 + random.normal(size=(count, WIDTH)) / 3
    )


def pool_of(count: int, seed: int) -> Pool:
    """Images and two texts of each: every text is its image with noise of an own strength."""
    random = np.random.default_rng(seed)
    images = rows(count, seed)
    owners = np.repeat(np.arange(count), 2)
    noise = random.normal(size=(2 * count, WIDTH)) * random.uniform(0.05, 0.5, size=(2 * count, 1))
    return Pool(images, finish(images[owners] + noise), owners[:, None] == np.arange(count))


@pytest.mark.parametrize("width", [WIDTH, CUT])
def test_standard_scores_are_those_of_the_rows_themselves(width: int) -> None:
    sample, query = rows(4000, seed=1), rows(1, seed=2)[0]
    cut, asked = finish(sample, width), finish(query[None], width)[0]
    cosines = cut @ asked
    found = ScoreNormalization.of(sample).at(width).standard_scores(asked, cosines)
    # The covariance is told by sixteen directions and a diagonal, and cutting divides by the mean length: nearly so.
    assert found == pytest.approx((cosines - cosines.mean()) / cosines.std(), rel=0.06, abs=0.25)
    assert np.array_equal(np.argsort(found), np.argsort(cosines))


def test_a_cohort_survives_its_file() -> None:
    cohort, query = ScoreNormalization.of(rows(500, seed=1)), rows(1, seed=2)[0]
    cosines = rows(50, seed=3) @ query
    again = ScoreNormalization.from_json(cohort.as_json())
    assert len(again.directions) == DIRECTIONS
    assert np.array_equal(again.standard_scores(query, cosines), cohort.standard_scores(query, cosines))


@pytest.fixture(scope="module")
def calibration() -> ScoreCalibration:
    return fit_calibration("f" * 32, [pool_of(200, seed=1), pool_of(400, seed=2)], [32, CUT, WIDTH])


@pytest.mark.parametrize("width", [WIDTH, CUT])
@pytest.mark.parametrize("count", [200, 400])
def test_chances_come_true(calibration: ScoreCalibration, width: int, count: int) -> None:
    """On other photos than those of the fit, and where another share of them is right."""
    pool = pool_of(count, seed=5)
    images, texts = finish(pool.images, width), finish(pool.texts, width)
    found = [calibration.chance(text, images @ text, odds=1 / (count - 1)) for text in texts]
    told, right = np.stack([row for row in found if row is not None]), pool.right
    for low, high in ((0.0, 0.05), (0.2, 0.5), (0.5, 0.8), (0.9, 1.0)):
        inside = (told >= low) & (told <= high)
        assert inside.sum() > 20
        assert right[inside].mean() == pytest.approx(told[inside].mean(), abs=0.2)


def test_odds_shift_all_chances_alike(calibration: ScoreCalibration) -> None:
    text, images = rows(1, seed=9)[0], rows(9, seed=8)
    told, rarer = (calibration.chance(text, images @ text, odds) for odds in (0.01, 0.001))
    assert told is not None
    assert rarer is not None
    assert (told / (1 - told)) / (rarer / (1 - rarer)) == pytest.approx(10, rel=1e-3)


def test_widths_that_were_not_fitted_have_no_chance(calibration: ScoreCalibration) -> None:
    assert calibration.chance(np.ones(32, np.float32), np.ones(1, np.float32)) is None
    assert calibration.chance(np.ones(80, np.float32), np.ones(1, np.float32)) is None


def test_it_belongs_to_its_model(calibration: ScoreCalibration, tmp_path: Path) -> None:
    assert read_calibration(tmp_path, "f" * 32) is None
    write_calibration(tmp_path, calibration)
    again = read_calibration(tmp_path, "f" * 32)
    assert again is not None
    assert again.chances == calibration.chances
    text = rows(1, seed=9)[0]
    cosines = rows(9, seed=8) @ text
    assert np.array_equal(again.chance(text, cosines), calibration.chance(text, cosines))
    with pytest.raises(FolderError, match=r"fitted for another model \(ffff.*this one is 0000"):
        read_calibration(tmp_path, "0" * 32)
    file = tmp_path / "reading.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(FolderError, match="format 2, not 1"):
        read_calibration(tmp_path, "f" * 32)
    file.write_text("{}")
    with pytest.raises(FolderError, match="not a reading of scores"):
        read_calibration(tmp_path, "f" * 32)


def test_few_photos_say_too_little() -> None:
    with pytest.raises(ConfigError, match="at least 100 photos"):
        fit_calibration("f" * 32, [pool_of(99, seed=1)], [WIDTH])
