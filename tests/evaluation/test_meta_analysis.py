"""Beyond what ``test_reference.py`` compares with metafor."""

import numpy as np
import pytest
from scipy import stats

from kicc_ml.evaluation.discrimination import SitePairs
from kicc_ml.evaluation.meta_analysis import logit_areas, pool, pool_areas

EFFECT, VARIANCE = np.array([0.2, 0.9, 1.4, 0.5, 1.1]), np.array([0.05, 0.2, 0.1, 0.04, 0.3])


def test_fewer_than_three_hospitals_have_no_mean_and_say_so() -> None:
    found = pool(EFFECT[:2], VARIANCE[:2])
    assert (found.mean, found.predicted_low) == (None, None)
    assert found.reason == "2 effects; 3 are needed"


def test_hospitals_without_a_logit_or_a_variance_are_left_out() -> None:
    pairs = SitePairs(
        np.array(list("abcde")),
        np.array([1.0, 0.8, 0.0, 0.7, 0.6]),
        np.ones(5),
        np.array([0.0, 0.01, 0.0, np.nan, 0.02]),
    )
    assert list(logit_areas(pairs)[2]) == ["b", "e"]


def test_effects_that_differ_by_chance_leave_a_new_hospital_less_certain_than_the_mean() -> None:
    found = pool(0.7 + np.array([0.15, -0.3, 0.2, -0.1, -0.4]), VARIANCE)
    assert found.tau_squared == 0
    assert found.low is not None
    assert found.predicted_low is not None
    assert found.predicted_low < found.low
    assert found.plug_in_low == pytest.approx(found.low)


def test_with_many_large_hospitals_both_prediction_intervals_are_the_spread_of_the_effects() -> None:
    effect = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    found = pool(effect, np.full(400, 1e-4))
    for bound, expected in zip((found.predicted_high, found.plug_in_high), (1.96, 1.96), strict=True):
        assert bound == pytest.approx(expected, abs=0.05)


def test_areas_come_back_from_the_logit_scale_in_order() -> None:
    area = np.array([0.7, 0.75, 0.8, 0.85, 0.9])
    found = pool_areas(SitePairs(np.array(list("abcde")), area, np.ones(5), np.full(5, 0.002)))
    bounds = [found.predicted_low, found.low, found.mean, found.high, found.predicted_high]
    assert bounds == sorted(bounds, key=float)  # type: ignore[arg-type]
    assert found.mean == pytest.approx(0.81, abs=0.02)
