"""Agreement of a measured quantity with its reference.

All intervals assume that cases are independent, and that differences are about normal with a common SD. Sources: limits
of agreement, Bland & Altman, Stat Methods Med Res 1999;8:135; ICC(2,1), Shrout & Fleiss, Psychol Bull 1979;86:420; its
interval, McGraw & Wong, Psychol Methods 1996;1:30, as in R's psych. Correlation is not agreement; it is given for
comparison with the literature.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from kicc_ml.evaluation.intervals import CONFIDENCE, Interval, Z

TAIL = (1 + CONFIDENCE) / 2

#: Minimum number of pairs: the variance of Fisher's transformation is 1 / (n - 3).
MIN_CORRELATED_PAIRS = 4


@dataclass(frozen=True)
class BlandAltman:
    """Mean difference (measured minus reference) and the limits that contain 95 % of the differences.

    Each has a 95 % interval. ``spread`` is the SD of the differences.
    """

    n: int
    bias: float
    bias_interval: Interval
    spread: float
    lower: float
    lower_interval: Interval
    upper: float
    upper_interval: Interval


def compute_bland_altman(measured_n: np.ndarray, reference_n: np.ndarray) -> BlandAltman | None:
    """Compute the limits of agreement; None with fewer than three pairs."""
    n = len(measured_n)
    if n < 3:
        return None
    difference_n = measured_n - reference_n
    bias, spread = float(difference_n.mean()), float(difference_n.std(ddof=1))
    t = stats.t.ppf(TAIL, n - 1)
    half_of_bias = t * spread / np.sqrt(n)
    half_of_limit = t * spread * np.sqrt(1 / n + Z**2 / (2 * (n - 1)))
    lower, upper = bias - Z * spread, bias + Z * spread
    return BlandAltman(
        n=n,
        bias=bias,
        bias_interval=_make_interval_around(bias, half_of_bias),
        spread=spread,
        lower=lower,
        lower_interval=_make_interval_around(lower, half_of_limit),
        upper=upper,
        upper_interval=_make_interval_around(upper, half_of_limit),
    )


def compute_icc_2_1(rating_nk: np.ndarray) -> float | None:
    """Compute ICC(2,1): two-way random effects, absolute agreement, single rater.

    Args:
        rating_nk: ratings of n subjects by k raters.

    Returns:
        the ICC; None with fewer than two subjects or raters, or without any variation.
    """
    subjects, raters = rating_nk.shape
    if subjects < 2 or raters < 2:
        return None
    between_subjects, between_raters, residual = _compute_mean_squares(rating_nk)
    whole = between_subjects + (raters - 1) * residual + raters * (between_raters - residual) / subjects
    return float((between_subjects - residual) / whole) if whole > 0 else None


def compute_icc_interval(rating_nk: np.ndarray) -> Interval:
    """Compute the 95 % interval of ICC(2,1) by F quantiles with Satterthwaite's degrees of freedom."""
    icc = compute_icc_2_1(rating_nk)
    subjects, raters = rating_nk.shape
    if icc is None or subjects < 3:
        return Interval(None, None, "fewer than three subjects, or no variation")
    between_subjects, between_raters, residual = _compute_mean_squares(rating_nk)
    if residual <= 0:
        return Interval(None, None, "the raters differ by a constant; no spread to estimate")
    ratio = between_raters / residual
    top = (
        (raters - 1) * (subjects - 1) * (raters * icc * ratio + subjects * (1 + (raters - 1) * icc) - raters * icc) ** 2
    )
    bottom = (subjects - 1) * raters**2 * icc**2 * ratio**2 + (subjects * (1 + (raters - 1) * icc) - raters * icc) ** 2
    degrees = top / bottom
    spread = raters * between_raters + (raters * subjects - raters - subjects) * residual
    upper_f = stats.f.ppf(TAIL, subjects - 1, degrees)
    lower_f = stats.f.ppf(TAIL, degrees, subjects - 1)
    low = subjects * (between_subjects - upper_f * residual) / (upper_f * spread + subjects * between_subjects)
    high = subjects * (lower_f * between_subjects - residual) / (spread + subjects * lower_f * between_subjects)
    return Interval(float(low), float(high))


def compute_pearson(measured_n: np.ndarray, reference_n: np.ndarray) -> tuple[float | None, Interval]:
    """Compute Pearson's r and its interval by Fisher's z; None with too few pairs or without variation."""
    if len(measured_n) < MIN_CORRELATED_PAIRS or np.ptp(measured_n) == 0 or np.ptp(reference_n) == 0:
        return None, Interval(None, None, f"fewer than {MIN_CORRELATED_PAIRS} pairs, or no variation")
    found = stats.pearsonr(measured_n, reference_n)
    bounds = found.confidence_interval(CONFIDENCE)
    return float(found.statistic), Interval(float(bounds.low), float(bounds.high))


def compute_share_within(measured_n: np.ndarray, reference_n: np.ndarray, points: float) -> float:
    """Compute the share of cases whose value differs from the reference by at most ``points``."""
    return float((np.abs(measured_n - reference_n) <= points).mean())


def _compute_mean_squares(rating_nk: np.ndarray) -> tuple[float, float, float]:
    """Compute the mean squares between subjects, between raters, and of the residual."""
    subjects, raters = rating_nk.shape
    grand = rating_nk.mean()
    between_subjects = raters * ((rating_nk.mean(axis=1) - grand) ** 2).sum() / (subjects - 1)
    between_raters = subjects * ((rating_nk.mean(axis=0) - grand) ** 2).sum() / (raters - 1)
    residual_nk = rating_nk - rating_nk.mean(axis=1, keepdims=True) - rating_nk.mean(axis=0) + grand
    return between_subjects, between_raters, (residual_nk**2).sum() / ((subjects - 1) * (raters - 1))


def _make_interval_around(value: float, half: float) -> Interval:
    return Interval(float(value - half), float(value + half))
