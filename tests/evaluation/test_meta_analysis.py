"""Beyond what ``test_reference.py`` and ``test_reference_hospitals.py`` compare with metafor."""

import numpy as np
import pytest
from scipy import stats

from kicc_ml.evaluation.discrimination import SitePairs
from kicc_ml.evaluation.hospital_effects import compute_area_effects
from kicc_ml.evaluation.meta_analysis import pool, transform_back

EFFECT, VARIANCE = np.array([0.2, 0.9, 1.4, 0.5, 1.1]), np.array([0.05, 0.2, 0.1, 0.04, 0.3])


@pytest.mark.parametrize("k", [0, 1, 2])
def test_fewer_than_three_hospitals_have_no_mean_and_say_so(k: int) -> None:
    found = pool(EFFECT[:k], VARIANCE[:k])
    assert (found.mean, found.low, found.predicted_low) == (None, None, None)
    assert found.reason == found.predicted_reason
    assert "3 are needed" in found.reason


def test_hospitals_that_are_not_shown_to_differ_have_a_mean_but_no_range_for_a_new_one() -> None:
    found = pool(0.7 + np.array([0.15, -0.3, 0.2, -0.1, -0.4]), VARIANCE)
    assert found.tau_squared == 0
    assert found.low is not None
    assert found.predicted_low is None
    assert found.predicted_reason.startswith("the hospitals are not shown to differ")
    assert found.plug_in_low == pytest.approx(found.low)


def test_three_hospitals_have_a_mean_but_no_range_for_a_new_one() -> None:
    found = pool(np.array([0.0, 1.0, 3.0]), np.full(3, 0.01))
    assert found.low is not None
    assert (found.predicted_low, found.predicted_high) == (None, None)
    assert found.predicted_reason == "3 hospitals; 4 are needed to say where a new one may lie"


def test_hospitals_that_differ_leave_a_new_one_less_certain_than_the_mean() -> None:
    found = pool(np.array([0.2, 0.9, 2.4, 0.1, 1.8]), VARIANCE)
    bounds = [found.predicted_low, found.low, found.mean, found.high, found.predicted_high]
    assert bounds == sorted(set(bounds), key=float)  # type: ignore[arg-type]


def test_with_many_large_hospitals_the_range_for_a_new_one_is_the_spread_of_the_effects() -> None:
    effect = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    found = pool(effect, np.full(400, 1e-4))
    assert found.predicted_high == pytest.approx(1.96, abs=0.05)


def test_areas_come_back_from_the_logit_scale_in_order() -> None:
    area, many = np.array([0.7, 0.75, 0.8, 0.85, 0.9]), np.full(5, 100.0)
    effects = compute_area_effects(
        SitePairs(np.array(list("abcde")), area, many, many, np.full(5, 0.02), np.full(5, 0.02))
    )
    found = transform_back(pool(effects.effect_k, effects.variance_k), effects.scale)
    bounds = [found.predicted_low, found.low, found.mean, found.high, found.predicted_high]
    assert bounds == sorted(bounds, key=float)  # type: ignore[arg-type]
    assert found.mean == pytest.approx(0.81, abs=0.02)


def test_equal_effects_have_no_interval_rather_than_one_of_no_width() -> None:
    found = pool(np.full(4, 0.5), np.full(4, 0.1))
    assert (found.mean, found.low, found.reason) == (None, None, "no spread between hospitals")
