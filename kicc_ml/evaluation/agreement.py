"""Agreement of a measured quantity with its reference."""

import numpy as np


def icc_2_1(rating_nk: np.ndarray) -> float | None:
    """ICC(2,1): two-way random effects, absolute agreement, single rater (Shrout & Fleiss, Psychol Bull
    1979).

    ``rating_nk`` holds n subjects by k raters. None with fewer than two of either, or where nothing varies.
    """
    subjects, raters = rating_nk.shape
    if subjects < 2 or raters < 2:
        return None
    grand = rating_nk.mean()
    between_subjects = raters * ((rating_nk.mean(axis=1) - grand) ** 2).sum() / (subjects - 1)
    between_raters = subjects * ((rating_nk.mean(axis=0) - grand) ** 2).sum() / (raters - 1)
    residual_nk = rating_nk - rating_nk.mean(axis=1, keepdims=True) - rating_nk.mean(axis=0) + grand
    residual = (residual_nk**2).sum() / ((subjects - 1) * (raters - 1))
    whole = between_subjects + (raters - 1) * residual + raters * (between_raters - residual) / subjects
    return float((between_subjects - residual) / whole) if whole > 0 else None


def within(measured_n: np.ndarray, reference_n: np.ndarray, points: float) -> float:
    """Share of cases whose value is at most ``points`` off."""
    return float((np.abs(measured_n - reference_n) <= points).mean())
