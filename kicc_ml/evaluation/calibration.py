"""Calibration: do predicted risks agree with observed outcomes? (Van Calster et al., BMC Med 2019;17:230).

- ``calibration_intercept``: intercept of a logistic model with the logit of the probability as offset (calibration in
  the large, ideal 0).
- ``calibration_slope``: slope of a logistic model on that logit, with a free intercept (ideal 1; below 1 the predicted
  risks are too extreme).
- ``observed_expected``: observed events divided by expected events (ideal 1).
- ``brier``: mean squared difference between probability and label.
- ``scaled_brier``: 1 minus the ratio of the Brier score to that of the prevalence (1 is perfect, 0 is as good as
  predicting the prevalence of these very cases).

Each function returns an :class:`Influence`: the metric over all cases, and how much each case changes it. The variance
is computed from the latter (:func:`kicc_ml.evaluation.intervals.compute_stratified_estimate`). Slope and intercept
equal those of R's rms ``val.prob`` and ``glm``. Their variance does not assume that the logistic model is true
(White, Econometrica 1982;50:1).
"""

from dataclasses import dataclass

import numpy as np
from scipy import special
from statsmodels.nonparametric.smoothers_lowess import lowess

from kicc_ml.evaluation.intervals import Influence
from kicc_ml.evaluation.rows import BinaryOutcomes

#: Minimum distance of probabilities from 0 and 1 on the logit scale; beyond it a model claims more than data can show.
MIN_PROBABILITY = 1e-6

#: A steeper slope means that the labels are separated perfectly, so that no finite slope exists.
MAX_SLOPE = 50.0

MAX_NEWTON_STEPS = 50

#: Size of the last Newton step; the remaining error is about its square.
CONVERGED = 1e-8

#: Share of cases in each local regression of the smooth curve (the default of R's lowess).
SMOOTHING = 2 / 3

#: Minimum number of cases for a smooth curve.
MIN_SMOOTHED_CASES = 20


@dataclass(frozen=True)
class SmoothCurve:
    """Observed share by ascending predicted risk; empty with a ``reason``."""

    predicted_n: np.ndarray
    observed_n: np.ndarray
    reason: str = ""


def compute_brier(rows: BinaryOutcomes) -> Influence:
    """Compute the mean squared difference of probability and label."""
    error_n = compute_squared_error(rows)
    return Influence(float(error_n.mean()), (error_n - error_n.mean()) / error_n.size)


def compute_scaled_brier(rows: BinaryOutcomes) -> Influence:
    """Compute 1 minus the ratio of the Brier score to that of the prevalence; NaN with one class."""
    error_n, prevalence, n = compute_squared_error(rows), rows.label_n.mean(), rows.label_n.size
    worst = prevalence * (1 - prevalence)
    if worst == 0:
        return Influence(np.nan, np.zeros(n))
    share = error_n.mean() / worst
    moved_n = (1 - 2 * prevalence) * (rows.label_n - prevalence)
    return Influence(float(1 - share), (share * moved_n - (error_n - error_n.mean())) / (worst * n))


def compute_observed_expected(rows: BinaryOutcomes) -> Influence:
    """Compute the number of events divided by the sum of the probabilities; NaN if that sum is 0."""
    expected = rows.probability_n.sum()
    if expected <= 0:
        return Influence(np.nan, np.zeros(rows.label_n.size))
    value = float(rows.label_n.sum() / expected)
    return Influence(value, (rows.label_n - value * rows.probability_n) / expected)


def compute_calibration_slope(rows: BinaryOutcomes) -> Influence:
    """Compute the slope of the label on the logit of the probability; NaN if no finite slope exists."""
    logit_n = compute_logit(rows)
    if np.ptp(logit_n) < MIN_PROBABILITY:
        return Influence(np.nan, np.zeros_like(logit_n))
    return _select_last_coefficient(fit_logistic(make_slope_design(logit_n), np.zeros_like(logit_n), rows.label_n))


def compute_calibration_intercept(rows: BinaryOutcomes) -> Influence:
    """Compute the intercept of the label with the logit of the probability as offset; NaN with one class."""
    logit_n = compute_logit(rows)
    return _select_last_coefficient(fit_logistic(np.ones((logit_n.size, 1)), logit_n, rows.label_n))


@dataclass(frozen=True)
class LogisticFit:
    """A logistic regression: maximum-likelihood coefficients, their covariance, and the influence of each case.

    The coefficients are NaN if no finite ones exist; the covariance assumes that the model is true.
    """

    coefficient_k: np.ndarray
    covariance_kk: np.ndarray
    influence_nk: np.ndarray


def fit_logistic(design_nk: np.ndarray, offset_n: np.ndarray, label_n: np.ndarray) -> LogisticFit:
    """Fit a logistic regression without penalty by Newton's method.

    Args:
        design_nk: values of k predictors for n cases.
        offset_n: offset of each case on the logit scale.
        label_n: label 0 or 1 of each case.
    """
    n, size = design_nk.shape
    coefficient_k = np.zeros(size)
    for _ in range(MAX_NEWTON_STEPS):
        score_nk, information_kk = compute_logistic_step(design_nk, offset_n, label_n, coefficient_k)
        try:
            step_k = np.linalg.solve(information_kk, score_nk.sum(axis=0))
        except np.linalg.LinAlgError:  # all at the same probability, or separated
            break
        coefficient_k = coefficient_k + np.clip(step_k, -5, 5)
        if np.abs(coefficient_k).max() > MAX_SLOPE:
            break
        if np.abs(step_k).max() < CONVERGED:
            covariance_kk = np.linalg.inv(information_kk)
            return LogisticFit(coefficient_k, covariance_kk, score_nk @ covariance_kk)
    return LogisticFit(np.full(size, np.nan), np.full((size, size), np.nan), np.zeros((n, size)))


def compute_logistic_step(
    design_nk: np.ndarray, offset_n: np.ndarray, label_n: np.ndarray, coefficient_k: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the score of each case and Fisher's information at ``coefficient_k``."""
    mean_n = special.expit(design_nk @ coefficient_k + offset_n)
    information_kk = design_nk.T @ (design_nk * (mean_n * (1 - mean_n))[:, None])
    return design_nk * (label_n - mean_n)[:, None], information_kk


def compute_smooth_curve(rows: BinaryOutcomes) -> SmoothCurve:
    """Compute the observed share as a local linear function of the predicted risk (lowess without robustness steps).

    Estimand: the mean outcome of cases with about this predicted risk. The curve equals R's
    ``lowess(iter = 0, delta = 0)``, which rms ``val.prob`` draws, and is clipped to 0 and 1. There is no curve for
    fewer than ``MIN_SMOOTHED_CASES`` cases or for constant probabilities.
    """
    reason = rows.one_class_reason
    if not reason and len(rows.label_n) < MIN_SMOOTHED_CASES:
        reason = f"fewer than {MIN_SMOOTHED_CASES} cases"
    if not reason and np.ptp(rows.probability_n) < MIN_PROBABILITY:
        reason = "probabilities are constant"
    if reason:
        return SmoothCurve(np.empty(0), np.empty(0), reason)
    curve_n2 = lowess(rows.label_n, rows.probability_n, frac=SMOOTHING, it=0, delta=0.0)
    known_n = np.isfinite(curve_n2[:, 1])
    return SmoothCurve(curve_n2[known_n, 0], np.clip(curve_n2[known_n, 1], 0, 1))


def compute_squared_error(rows: BinaryOutcomes) -> np.ndarray:
    """Return the squared error of each probability (its part of the Brier score)."""
    return (rows.probability_n - rows.label_n) ** 2


def compute_logit(rows: BinaryOutcomes) -> np.ndarray:
    """Compute the logit of the probabilities, kept finite."""
    return special.logit(np.clip(rows.probability_n, MIN_PROBABILITY, 1 - MIN_PROBABILITY))


def make_slope_design(logit_n: np.ndarray) -> np.ndarray:
    """Return the design matrix of a logistic recalibration: a column of ones, and the logits."""
    return np.stack([np.ones_like(logit_n), logit_n], axis=1)


def _select_last_coefficient(fit: LogisticFit) -> Influence:
    return Influence(float(fit.coefficient_k[-1]), fit.influence_nk[:, -1])
