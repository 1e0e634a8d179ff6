"""Recalibration, weights of models and operating point, all fitted on patients held out inside the fold."""

from collections.abc import Sequence
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
    blend = fit_blend(probability_b[None], label_b, least=-np.inf)
    return Recalibration(blend.intercept, blend.weight_m[0])


@dataclass(frozen=True)
class Blend:
    """Log odds of several models together: ``intercept`` and the sum of ``weight`` times each one's."""

    intercept: float
    weight_m: Sequence[float]

    def __call__(self, probability_mb: np.ndarray) -> np.ndarray:
        return expit(self.intercept + np.asarray(self.weight_m) @ log_odds(probability_mb))


def fit_blend(probability_mb: np.ndarray, label_b: np.ndarray, least: float = 0.0) -> Blend:
    """The likeliest intercept and weights of at least ``least``, given priors about the models' mean.

    Stacking (Breiman, Mach Learn 1996;24:49: weights must not be negative), with the priors of ``PRIOR_SD`` again, so
    that a rare endpoint is predicted by little else than the mean. Cases without label or without a probability of
    every model are left out; where none remains, it is the mean.
    """
    known_b = ~np.isnan(label_b) & ~np.isnan(probability_mb).any(axis=0)
    models = len(probability_mb)
    if not known_b.any():
        return Blend(0.0, [1 / models] * models)
    odds_mb, label_b = log_odds(probability_mb[:, known_b]), label_b[known_b]
    mean_b, centre_m = odds_mb.mean(axis=0), odds_mb.mean(axis=1)
    # A weight turns about the middle, else it would do the intercept's work too.
    about_centre_mb = odds_mb - centre_m[:, None]

    def loss(change: np.ndarray) -> float:
        changed_b = mean_b + change[0] + change[1:] @ about_centre_mb
        misfit = (np.logaddexp(0, changed_b) - label_b * changed_b).sum()  # cross-entropy
        return float(misfit + (change**2).sum() / (2 * PRIOR_SD**2))

    bounds = [(None, None), *[(least - 1 / models, None)] * models]
    change = minimize(loss, np.zeros(1 + models), bounds=bounds).x
    return Blend(float(change[0] - change[1:] @ centre_m), [float(1 / models + one) for one in change[1:]])


def operating_point(probability_b: np.ndarray, label_b: np.ndarray) -> float:
    """The probability from which on a patient counts as positive: the largest sensitivity + specificity.

    Youden, Cancer 1950;3:32. Patients without a label, or without a prediction, are left out; NaN where not both
    classes are left. A choice for tables, not a recommendation: what a false alarm costs against a miss is for the
    clinic to say, and decision curves show it.
    """
    known_b = ~np.isnan(label_b) & ~np.isnan(probability_b)
    if len(np.unique(label_b[known_b])) < 2:
        return float("nan")
    false_t, true_t, threshold_t = roc_curve(label_b[known_b], probability_b[known_b])
    return float(threshold_t[1:][np.argmax((true_t - false_t)[1:])])
