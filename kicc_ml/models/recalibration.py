"""Recalibration and operating point, both fitted on predictions of patients held out inside the fold."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import roc_curve

#: Standard deviation of normal priors on shift and slope about no change: ours. Twenty events outweigh them, two
#: do not, so that a rare endpoint is left nearly as it was rather than bent to noise.
PRIOR_SD = 0.5

#: Probabilities are kept this far from 0 and 1, so that their log odds exist.
EDGE = 1e-6


@dataclass(frozen=True)
class Recalibration:
    """New log odds are ``intercept + slope x`` the old ones (Cox, Biometrika 1958;45:562)."""

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, probability_b: np.ndarray) -> np.ndarray:
        return expit(self.intercept + self.slope * log_odds(probability_b))


def log_odds(probability_b: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability_b, EDGE, 1 - EDGE))


def fit_recalibration(probability_b: np.ndarray, label_b: np.ndarray) -> Recalibration:
    """The likeliest intercept and slope given the priors; nothing changes where no label is known (all NaN).

    A label may be a share of a scale instead of 0 or 1 (fractional logistic regression: Papke & Wooldridge, J Appl
    Econom 1996;11:619).
    """
    known_b = ~np.isnan(label_b)
    if not known_b.any():
        return Recalibration()
    odds_b, label_b = log_odds(probability_b[known_b]), label_b[known_b]
    centre = odds_b.mean()  # a slope turns about the middle, else it would do the intercept's work too

    def loss(change: np.ndarray) -> float:
        shift, slope_change = change
        changed_b = odds_b + shift + slope_change * (odds_b - centre)
        misfit = (np.logaddexp(0, changed_b) - label_b * changed_b).sum()  # cross-entropy
        return float(misfit + (change**2).sum() / (2 * PRIOR_SD**2))

    shift, slope_change = minimize(loss, np.zeros(2)).x
    return Recalibration(float(shift - slope_change * centre), float(1 + slope_change))


def operating_point(probability_b: np.ndarray, label_b: np.ndarray) -> float:
    """The probability from which on a patient counts as positive: the largest sensitivity + specificity.

    Youden, Cancer 1950;3:32. NaN without both classes. A choice for tables, not a recommendation: what a false alarm
    costs against a miss is for the clinic to say, and decision curves show it.
    """
    known_b = ~np.isnan(label_b)
    if len(np.unique(label_b[known_b])) < 2:
        return float("nan")
    false_t, true_t, threshold_t = roc_curve(label_b[known_b], probability_b[known_b])
    return float(threshold_t[1:][np.argmax((true_t - false_t)[1:])])
