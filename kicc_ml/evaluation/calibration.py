"""Whether predicted risks are the observed ones (Van Calster et al., BMC Med 2019;17:230).

- ``calibration_intercept``: of the logistic model with the logit of the probability as offset (calibration in the
  large, ideal 0).
- ``calibration_slope``: of the logistic model with both free (ideal 1; below 1 the model is too sure of itself).
- ``observed_expected``: events observed over events expected (ideal 1).
- ``brier``: mean squared difference of probability and label; ``scaled_brier``: 1 less its ratio to that of the
  prevalence (1 is perfect, 0 as good as the prevalence, which is told the model in hindsight).

Estimand: of cases and hospitals like these. Replicates are those of
:class:`kicc_ml.evaluation.bootstrap.Resampling`, the sample itself first; NaN where a figure does not exist.
:func:`wald` is for independent cases. Slope and intercept equal those of R's rms ``val.prob`` and ``glm``.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special
from statsmodels.nonparametric.smoothers_lowess import lowess

from kicc_ml.evaluation.bootstrap import Interval, Resampling
from kicc_ml.evaluation.delong import Z
from kicc_ml.evaluation.discrimination import ratio
from kicc_ml.evaluation.rows import Rows

#: Probabilities are kept this far from 0 and 1 on the logit scale; beyond it a model claims more than data
#: can show.
LEAST_PROBABILITY = 1e-6

#: A slope this steep means that the labels are separated perfectly and no finite one exists.
STEEPEST_SLOPE = 50.0

NEWTON_STEPS = 30

#: A last step this small leaves an error of about its square.
CONVERGED = 1e-6

#: Share of cases in each local line of the smooth curve (the default of R's lowess).
SMOOTHING = 2 / 3

#: Fewer cases than this make no smooth curve.
LEAST_SMOOTHED = 20


@dataclass(frozen=True)
class SmoothCurve:
    """Observed share along the predicted risk, ascending; empty with a ``reason``."""

    predicted_n: np.ndarray
    observed_n: np.ndarray
    reason: str = ""


def brier(rows: Rows, drawn: Resampling) -> np.ndarray:
    """Mean squared difference of probability and label, per replicate."""
    return ratio(drawn.total((rows.probability_n - rows.label_n) ** 2), drawn.total(np.ones_like(rows.label_n)))


def scaled_brier(rows: Rows, drawn: Resampling) -> np.ndarray:
    """1 less Brier over that of the prevalence of the replicate; NaN where it has one class."""
    prevalence_r = ratio(drawn.total(rows.label_n), drawn.total(np.ones_like(rows.label_n)))
    return 1 - ratio(brier(rows, drawn), prevalence_r * (1 - prevalence_r))


def observed_expected(rows: Rows, drawn: Resampling) -> np.ndarray:
    """Events over the sum of the probabilities, per replicate; NaN without events, whose ratio has no logarithm."""
    events_r = drawn.total(rows.label_n)
    return np.where(events_r > 0, ratio(events_r, drawn.total(rows.probability_n)), np.nan)


def calibration_slope(rows: Rows, drawn: Resampling) -> np.ndarray:
    """Slope of the label on the logit of the probability, per replicate; NaN where none is finite."""
    logit_n = logit_of(rows)
    if np.ptp(logit_n) < LEAST_PROBABILITY:
        return np.full(len(drawn.weight_ru), np.nan)
    slope_r = _logistic(_slope_design(logit_n), np.zeros_like(logit_n), rows.label_n, drawn.weight_rn)[:, 1]
    return np.where(np.abs(slope_r) < STEEPEST_SLOPE, slope_r, np.nan)


def calibration_intercept(rows: Rows, drawn: Resampling) -> np.ndarray:
    """Intercept of the label with the logit of the probability as offset, per replicate."""
    return _logistic(np.ones((len(rows.label_n), 1)), logit_of(rows), rows.label_n, drawn.weight_rn)[:, 0]


def wald(rows: Rows, metric: str) -> Interval:
    """95 % interval of ``calibration_slope`` or ``calibration_intercept`` by Fisher's information.

    Design: independent cases (one hospital). None where no finite estimate exists.
    """
    logit_n = logit_of(rows)
    slope = metric == "calibration_slope"
    design_nk = _slope_design(logit_n) if slope else np.ones((len(logit_n), 1))
    offset_n = np.zeros_like(logit_n) if slope else logit_n
    coefficient_k = _logistic(design_nk, offset_n, rows.label_n, np.ones((1, len(logit_n))))[0]
    mean_n = special.expit(design_nk @ coefficient_k + offset_n)
    information_kk = design_nk.T @ (design_nk * (mean_n * (1 - mean_n))[:, None])
    if not np.isfinite(coefficient_k).all() or np.linalg.cond(information_kk) > 1 / np.finfo(float).eps:
        return Interval(None, None, "no finite estimate")
    error = np.sqrt(np.linalg.inv(information_kk)[-1, -1])
    return Interval(float(coefficient_k[-1] - Z * error), float(coefficient_k[-1] + Z * error))


def smooth_curve(rows: Rows) -> SmoothCurve:
    """Observed share as a local linear function of the predicted risk (lowess without robustness steps).

    Estimand: the mean outcome of cases with about this predicted risk. As R's ``lowess(iter = 0, delta = 0)``,
    which rms ``val.prob`` draws. Kept within 0 and 1. No curve for fewer than ``LEAST_SMOOTHED`` cases or for
    constant probabilities.
    """
    reason = rows.why_one_class
    if not reason and len(rows.label_n) < LEAST_SMOOTHED:
        reason = f"fewer than {LEAST_SMOOTHED} cases"
    if not reason and np.ptp(rows.probability_n) < LEAST_PROBABILITY:
        reason = "probabilities are constant"
    if reason:
        return SmoothCurve(np.empty(0), np.empty(0), reason)
    curve_n2 = lowess(rows.label_n, rows.probability_n, frac=SMOOTHING, it=0, delta=0.0)
    known_n = np.isfinite(curve_n2[:, 1])
    return SmoothCurve(curve_n2[known_n, 0], np.clip(curve_n2[known_n, 1], 0, 1))


def logit_of(rows: Rows) -> np.ndarray:
    """Logit of the probabilities, kept finite."""
    return special.logit(np.clip(rows.probability_n, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))


def _slope_design(logit_n: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(logit_n), logit_n], axis=1)


def _logistic(design_nk: np.ndarray, offset_n: np.ndarray, label_n: np.ndarray, weight_rn: np.ndarray) -> np.ndarray:
    """Maximum-likelihood coefficients ``[r, k]`` under each set of weights (Newton); NaN where it fails.

    Every replicate starts at the solution of the sample.
    """
    once_1n = np.ones((1, len(label_n)))
    start_1k = _newton(design_nk, offset_n, label_n, once_1n, np.zeros((1, design_nk.shape[1])))
    start_rk = np.repeat(np.where(np.isfinite(start_1k), start_1k, 0.0), len(weight_rn), axis=0)
    return _newton(design_nk, offset_n, label_n, weight_rn, start_rk)


def _newton(
    design_nk: np.ndarray, offset_n: np.ndarray, label_n: np.ndarray, weight_rn: np.ndarray, coefficient_rk: np.ndarray
) -> np.ndarray:
    size = design_nk.shape[1]
    products_nkk = (design_nk[:, :, None] * design_nk[:, None, :]).reshape(-1, size**2)
    score_rk = (weight_rn * label_n) @ design_nk
    # a ridge keeps a resample of one class solvable; its coefficients then run off and end as NaN
    ridge = 1e-12 * np.eye(size)
    for _ in range(NEWTON_STEPS):
        mean_rn = special.expit(coefficient_rk @ design_nk.T + offset_n)
        weighted_rn = weight_rn * mean_rn
        gradient_rk = score_rk - weighted_rn @ design_nk
        weighted_rn *= 1 - mean_rn
        hessian_rkk = (weighted_rn @ products_nkk).reshape(-1, size, size) + ridge
        step_rk = np.linalg.solve(hessian_rkk, gradient_rk[..., None])[..., 0]
        coefficient_rk = coefficient_rk + np.clip(step_rk, -5, 5)
        moving_r = np.abs(step_rk).max(axis=1) > CONVERGED
        if not (moving_r & (np.abs(coefficient_rk).max(axis=1) < STEEPEST_SLOPE)).any():
            break
    return np.where(np.abs(step_rk).max(axis=1, keepdims=True) <= CONVERGED, coefficient_rk, np.nan)
