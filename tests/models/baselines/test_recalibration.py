"""Recalibration against a logistic regression, and what a few events may change."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from statsmodels.api import GLM, add_constant, families

from kicc_ml.models.baselines.recalibration import fit_blend, fit_recalibration, log_odds, operating_point


def drawn(patients: int, intercept: float, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose log odds are wrong by ``intercept`` and ``slope``, and outcomes."""
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 1.5, patients)
    return expit(odds), (rng.random(patients) < expit(intercept + slope * odds)).astype(float)


def test_of_many_patients_it_is_the_logistic_regression_on_log_odds():
    probability, label = drawn(20_000, 0.8, 0.5)
    free = LogisticRegression(C=np.inf).fit(log_odds(probability)[:, None], label)
    found = fit_recalibration(probability, label)
    assert found.slope == pytest.approx(free.coef_[0, 0], abs=0.01)
    assert found.intercept == pytest.approx(free.intercept_[0], abs=0.01)
    assert found(probability).mean() == pytest.approx(label.mean(), abs=0.003)


@pytest.mark.parametrize("events", [0, 1, 2])
def test_a_few_events_change_little(events: int):
    probability = np.full(40, 0.05)
    probability[:4] = 0.2
    label = np.zeros(40)
    label[10 : 10 + events] = 1  # among those of low risk
    found = fit_recalibration(probability, label)
    assert abs(found.slope - 1) < 0.25
    shift = log_odds(found(probability)) - log_odds(probability)
    assert np.abs(shift).max() < 0.7


def test_where_no_outcome_is_known_nothing_changes():
    found = fit_recalibration(np.array([0.2, 0.7]), np.array([np.nan, np.nan]))
    assert (found.intercept, found.slope) == (0.0, 1.0)


def test_the_operating_point_parts_what_can_be_parted():
    assert operating_point(np.array([0.1, 0.3, 0.6, 0.9]), np.array([0.0, 0, 1, 1])) == 0.6
    assert operating_point(np.array([0.1, 0.3, 0.6, 0.9, 0.5]), np.array([0.0, 0, 1, 1, np.nan])) == 0.6
    assert operating_point(np.array([0.1, 0.3, 0.6, 0.9, np.nan]), np.array([0.0, 0, 1, 1, 1])) == 0.6
    assert np.isnan(operating_point(np.full(4, np.nan), np.array([0.0, 0, 1, 1])))


def test_with_one_class_there_is_no_operating_point():
    assert np.isnan(operating_point(np.array([0.2, 0.4]), np.zeros(2)))


def test_of_shares_it_is_the_fractional_logistic_regression():
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 1.5, 5_000)
    share = expit(0.8 + 0.5 * odds + rng.normal(0, 0.3, odds.size))
    free = GLM(share, add_constant(odds), family=families.Binomial()).fit().params
    found = fit_recalibration(expit(odds), share)
    assert found.intercept == pytest.approx(free[0], abs=0.01)
    assert found.slope == pytest.approx(free[1], abs=0.01)


def test_of_many_patients_a_blend_is_the_logistic_regression_on_both_log_odds():
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 1.5, (2, 20_000))
    label = (rng.random(20_000) < expit(0.4 + 0.7 * odds[0] + 0.2 * odds[1])).astype(float)
    free = LogisticRegression(C=np.inf).fit(odds.T, label)
    found = fit_blend(expit(odds), label)
    assert found.weight_m == pytest.approx(free.coef_[0], abs=0.01)
    assert found.intercept == pytest.approx(free.intercept_[0], abs=0.01)


def test_a_model_that_misleads_gets_no_weight_and_never_a_negative_one():
    probability, label = drawn(5_000, 0.0, 1.0)
    assert fit_blend(np.stack([probability, 1 - probability]), label).weight_m[1] == 0


def test_without_a_patient_to_weigh_them_by_models_count_alike():
    probability_mb = np.array([[0.2, np.nan], [np.nan, 0.6]])
    assert fit_blend(probability_mb, np.array([0.0, 1.0])).weight_m == [0.5, 0.5]
    two_deaths = np.isin(np.arange(40), (15, 30)).astype(float)
    few = fit_blend(np.stack([np.full(40, 0.05), np.linspace(0.01, 0.2, 40)]), two_deaths).weight_m
    assert few == pytest.approx([0.5, 0.5], abs=0.3)
