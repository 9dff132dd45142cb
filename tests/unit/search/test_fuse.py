"""Hits of several kinds: each is ranked by how far it stands out among its kind."""

from __future__ import annotations

import numpy as np
import pytest

from babelclip.score_normalization import ScoreNormalization
from babelclip.search.fuse import OwnCohorts, in_one_order
from babelclip.search.store import Scored


def cohort(mean: float, deviation: float) -> ScoreNormalization:
    """Of rows whose cosine with the first axis has this mean and standard deviation."""
    zeros = np.zeros(2, np.float32)
    return ScoreNormalization(np.array([mean, 0], np.float32), zeros[None], np.array([deviation, 0.1], np.float32))


COHORTS = {"image": cohort(0.1, 0.05), "text": cohort(0.5, 0.2)}
QUERY = np.array([1.0, 0.0], np.float32)
TEXTS = [Scored("t1", "text", {}, 0.85), Scored("t2", "text", {}, 0.65)]
IMAGES = [Scored("i1", "image", {}, 0.3), Scored("i2", "image", {}, 0.12)]


def test_what_stands_out_among_its_kind_comes_first() -> None:
    """i1 lies 4 deviations above its mean, t1 1.75, t2 .75, i2 .4; means alone would put i2 last but t1 first."""
    found = in_one_order([TEXTS, IMAGES], QUERY, COHORTS)
    assert [hit.id for hit in found] == ["i1", "t1", "t2", "i2"]
    assert [hit.score for hit in found] == [0.3, 0.85, 0.65, 0.12], "cosines stay cosines"


def test_without_a_cohort_of_each_kind_the_cosine_decides() -> None:
    found = in_one_order([TEXTS, IMAGES], QUERY, {"image": COHORTS["image"]})
    assert [hit.id for hit in found] == ["t1", "t2", "i1", "i2"]


def test_an_index_knows_better_than_the_model_what_it_holds() -> None:
    own = OwnCohorts({"image": cohort(0.3, 0.05)}, {"image": 100})
    found = OwnCohorts.from_json(own.as_json()).with_those(COHORTS, 2)
    assert found["image"].mean[0] == pytest.approx(0.3, rel=1e-3)
    length = np.hypot(np.hypot(0.5, 0.2), 0.1)  # the model's are cut, and brought to length one
    assert found["text"].mean[0] == pytest.approx(0.5 / length, rel=1e-3)
    assert set(found) == {"image", "text", "page"}, "pages are images of which nothing closer is known"
    assert OwnCohorts.from_json(None).with_those({}, 2) == {}
