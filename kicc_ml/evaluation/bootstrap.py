"""Intervals by resampling clusters of cases, such as the images of a person.

Estimand: the figure over persons like these. Images of a person resemble each other, so persons are drawn, not
images, and the spread of the replicates enters a t interval on a scale without bounds. Design: persons are independent
of each other. Hospitals are never drawn: with one that has half of the patients the interval would hold everything
(:mod:`kicc_ml.evaluation.three_answers` has theirs).

Unequal clusters are worth fewer equal ones: with weights w they are (sum w)^2 / sum w^2 (Carter et al., Rev Econ Stat
2017;99:698), and that is the number the degrees of freedom are taken from.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from kicc_ml.evaluation.intervals import (
    CONFIDENCE,
    MIN_SHARE,
    Interval,
    Scale,
    make_interval,
    transform_from_scale,
    transform_to_scale,
)

REPLICATES = 2000

#: Minimum number of clusters: with two, t has one degree of freedom (12.7), and the interval would be useless. With
#: fewer clusters, cases are resampled.
MIN_CLUSTERS = 3

#: Maximum share of undefined replicates; with more, their SD is not trusted.
MAX_UNDEFINED_SHARE = 0.5


@dataclass(frozen=True)
class Resampling:
    """Bootstrap weights: ``weight_ru[r, u]`` is how often unit ``u`` (a cluster) occurs in replicate ``r``.

    Row 0 is the original sample. ``unit_n`` is the unit of each case.
    """

    weight_ru: np.ndarray
    unit_n: np.ndarray

    @property
    def units(self) -> int:
        """Return how many units are drawn from."""
        return self.weight_ru.shape[1]

    @property
    def degrees(self) -> float:
        """Effective degrees of freedom: the equivalent number of equal clusters minus one, at least 1."""
        count_u = np.bincount(self.unit_n, minlength=self.units).astype(float)
        return max(1.0, float(count_u.sum() ** 2 / (count_u**2).sum() - 1))

    def sum_by_replicate(self, value_n: np.ndarray) -> np.ndarray:
        """Sum a value over the cases of each replicate; the cost depends on the number of units, not of cases."""
        value_u = np.bincount(self.unit_n, weights=value_n, minlength=self.units)
        return self.weight_ru @ value_u


def resample(cluster_n: np.ndarray, seed: int = 0, replicates: int = REPLICATES) -> Resampling:
    """Resample clusters with replacement, or cases if there are fewer than ``MIN_CLUSTERS`` clusters."""
    clusters, unit_n = np.unique(np.asarray(cluster_n, str), return_inverse=True)
    if clusters.size < MIN_CLUSTERS:
        unit_n = np.arange(len(cluster_n))
    units = int(unit_n.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=replicates)
    return Resampling(np.vstack([np.ones(units), drawn]), unit_n)


def compute_bootstrap_t_interval(replicate_r: np.ndarray, drawn: Resampling, scale: Scale = "identity") -> Interval:
    """Compute the interval ``replicate_r[0]`` ± t x SD of the other replicates on ``scale``."""
    finite = replicate_r[1:][np.isfinite(replicate_r[1:])]
    if drawn.units < 2 or finite.size < (1 - MAX_UNDEFINED_SHARE) * (replicate_r.size - 1):
        return Interval(None, None, "too few cases for an interval")
    spread = compute_bootstrap_sd(finite, drawn, scale)
    if not np.isfinite(spread) or spread < 1e-12:
        return Interval(None, None, "no spread between resamples")
    half = stats.t.ppf((1 + CONFIDENCE) / 2, drawn.degrees) * spread
    low, high = transform_from_scale(
        transform_to_scale(replicate_r[0], scale, MIN_SHARE) + np.array([-half, half]), scale
    )
    return make_interval(low, high)


def compute_bootstrap_sd(replicate_r: np.ndarray, drawn: Resampling, scale: Scale = "identity") -> float:
    """Compute the SD of replicates on ``scale``, corrected for the bootstrap's factor sqrt((units - 1) / units).

    The variance of a resampled mean divides by the number of units and not by one less (Davison & Hinkley, Bootstrap
    Methods, 1997, section 2.3).
    """
    spread = np.std(transform_to_scale(replicate_r, scale), ddof=1)
    return float(spread * np.sqrt(drawn.units / (drawn.units - 1)))
