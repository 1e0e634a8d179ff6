"""Recalibration, model weights and operating point, all fitted on patients held out inside the training side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import roc_curve

#: Standard deviation of the normal priors, which favour no change of shift and slope. Our own choice: twenty events
#: outweigh the priors, two do not, so a rare endpoint is hardly changed instead of fitted to noise.
PRIOR_SD = 0.5

#: Probabilities are clipped to this distance from 0 and 1, so that their log odds are finite.
EDGE = 1e-6


@dataclass(frozen=True)
class Recalibration:
    """A linear change of log odds: ``intercept + slope * log odds`` (Cox, Biometrika 1958;45:562)."""

    intercept: float = 0.0
    slope: float = 1.0

    def __call__(self, probability_b: np.ndarray) -> np.ndarray:
        """Return the recalibrated probabilities."""
        return expit(self.intercept + self.slope * log_odds(probability_b))


def log_odds(probability_b: np.ndarray) -> np.ndarray:
    """Compute the log odds of probabilities, clipped by ``EDGE``."""
    return logit(np.clip(probability_b, EDGE, 1 - EDGE))


def fit_recalibration(probability_b: np.ndarray, label_b: np.ndarray) -> Recalibration:
    """Fit intercept and slope by maximum a posteriori; the result changes nothing if all labels are NaN.

    Args:
        probability_b: the predicted probability of each patient.
        label_b: 0 or 1, or NaN if unknown. A label may also be a share of a scale (fractional logistic regression:
            Papke & Wooldridge, J Appl Econom 1996;11:619).
    """
    blend = fit_blend(probability_b[None], label_b, least=-np.inf)
    return Recalibration(blend.intercept, blend.weight_m[0])


@dataclass(frozen=True)
class Blend:
    """A weighted sum of the log odds of several models: ``intercept`` plus ``weight_m`` times their log odds."""

    intercept: float
    weight_m: Sequence[float]

    def __call__(self, probability_mb: np.ndarray) -> np.ndarray:
        """Return the blend of several models' probabilities ``[model, patient]``."""
        return expit(self.intercept + np.asarray(self.weight_m) @ log_odds(probability_mb))


def fit_blend(probability_mb: np.ndarray, label_b: np.ndarray, least: float = 0.0) -> Blend:
    """Fit intercept and weights of a blend by maximum a posteriori, with priors around the mean of the models.

    This is stacking (Breiman, Mach Learn 1996;24:49: weights must not be negative) with priors of width ``PRIOR_SD``,
    so that a rare endpoint is predicted by almost the mean of the models.

    Args:
        probability_mb: (model, patient) probabilities.
        label_b: 0 or 1, or NaN if unknown. Patients without a label or without the probability of a model are left out.
        least: the lowest allowed weight.

    Returns:
        The blend; the mean of the models if no patient is left.
    """
    known_b = ~np.isnan(label_b) & ~np.isnan(probability_mb).any(axis=0)
    models = len(probability_mb)
    if not known_b.any():
        return Blend(0.0, [1 / models] * models)
    odds_mb, label_b = log_odds(probability_mb[:, known_b]), label_b[known_b]
    mean_b, centre_m = odds_mb.mean(axis=0), odds_mb.mean(axis=1)
    # Log odds are centred, so that a change of a weight does not act as a change of the intercept.
    about_centre_mb = odds_mb - centre_m[:, None]

    def loss(change: np.ndarray) -> float:
        changed_b = mean_b + change[0] + change[1:] @ about_centre_mb
        misfit = (np.logaddexp(0, changed_b) - label_b * changed_b).sum()  # cross-entropy
        return float(misfit + (change**2).sum() / (2 * PRIOR_SD**2))

    bounds = [(None, None), *[(least - 1 / models, None)] * models]
    change = minimize(loss, np.zeros(1 + models), bounds=bounds).x
    return Blend(float(change[0] - change[1:] @ centre_m), [float(1 / models + one) for one in change[1:]])


def operating_point(probability_b: np.ndarray, label_b: np.ndarray) -> float:
    """Choose the threshold with the largest sum of sensitivity and specificity (Youden, Cancer 1950;3:32).

    Patients without a label or without a prediction are left out. The threshold is for tables, it is not a
    recommendation: only the clinic can weigh a false alarm against a miss, and decision curves show the balance.

    Returns:
        The lowest probability that counts as positive; NaN if fewer than two classes are left.
    """
    known_b = ~np.isnan(label_b) & ~np.isnan(probability_b)
    if len(np.unique(label_b[known_b])) < 2:
        return float("nan")
    false_t, true_t, threshold_t = roc_curve(label_b[known_b], probability_b[known_b])
    return float(threshold_t[1:][np.argmax((true_t - false_t)[1:])])
